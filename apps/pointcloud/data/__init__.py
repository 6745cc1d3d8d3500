"""Sweeps and boxes: sources, the scene generator, augmentation, checks, batches."""
