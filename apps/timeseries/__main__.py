"""`python -m apps.timeseries` is `omnimix timeseries`."""

import sys

from core.training.launch import main

main(["timeseries", *sys.argv[1:]])
