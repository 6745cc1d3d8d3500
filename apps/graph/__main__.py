"""`python -m apps.graph` is `omnimix graph`."""

import sys

from core.training.launch import main

main(["graph", *sys.argv[1:]])
