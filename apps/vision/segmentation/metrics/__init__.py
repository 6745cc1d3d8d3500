"""Evaluation of segmentations: one subject a file, nothing imported here."""
