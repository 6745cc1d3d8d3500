"""Super-resolution data: from image files and public sets to batches.

`images` reads and writes files, `pairs` puts low- and high-resolution files together, `sources` names folders and
public sets, `generator` draws images without a download, `crops` cuts training patches (`degradation` makes the
low-resolution side like a phone does), `datamodule` puts it all together. Nothing is imported here.
"""
