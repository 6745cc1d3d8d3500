"""`python -m apps.vision.segmentation` is `omnimix segmentation`."""

import sys

from core.training.launch import main

main(["segmentation", *sys.argv[1:]])
