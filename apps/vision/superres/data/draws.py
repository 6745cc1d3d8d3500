"""Random numbers that depend on (seed, index) alone, so that neither workers nor interruptions change a draw."""

__all__ = ["generator"]

import numpy as np


def generator(seed: int, index: int) -> np.random.Generator:
    """Independent numbers for each (seed, index), both in 0 .. 2^64 - 1: the two are the key of a counter generator."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
