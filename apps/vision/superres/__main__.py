"""`python -m apps.vision.superres` is `omnimix superres`."""

import sys

from core.training.launch import main

main(["superres", *sys.argv[1:]])
