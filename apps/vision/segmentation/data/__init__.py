"""Segmentation data: from image and mask files and public sets to batches.

`masks` and `images` read files, `items` says what a sample and a source are, each source has a file of its own,
`scenes` draws streets without a download, `transforms` augments, `statistics` counts classes, `datamodule` puts it all
together. Nothing is imported here.
"""
