"""One thread for every test and what it starts: sizes are tiny, and threads that share cores with others cost most."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
