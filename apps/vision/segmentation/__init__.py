"""Semantic, panoptic and interactive segmentation."""
