"""`python -m apps.pointcloud` is `omnimix pointcloud`."""

import sys

from core.training.launch import main

main(["pointcloud", *sys.argv[1:]])
