"""`python -m apps.audio` is `omnimix audio`."""

import sys

from core.training.launch import main

main(["audio", *sys.argv[1:]])
