"""numba's compiler as this application uses it, and the random numbers that its loops draw.

A random number is a function of a key and a counter (splitmix64, Steele et al. 2014): no state, so that neither threads
nor workers nor the order of work change a draw. The numpy forms give the same bits.
"""

__all__ = ["GOLDEN", "compiled", "key_of", "mix", "mixed", "uniform", "uniform_of"]

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
BY_30, BY_27, BY_31, BY_11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
UNIT = 2.0**-53


def compiled(function: Callable) -> Callable:
    """Without the interpreter's lock, kept on disk where there is a place to keep it."""
    try:
        return njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:
        return njit(nogil=True, error_model="numpy")(function)


@compiled
def mix(x):
    """A uint64 to one that looks drawn."""
    x = (x ^ (x >> BY_30)) * FIRST
    x = (x ^ (x >> BY_27)) * SECOND
    return x ^ (x >> BY_31)


@compiled
def uniform(state, counter):
    """Number `counter` of a state, in [0, 1): 53 bits."""
    return np.float64(mix(state + GOLDEN * np.uint64(counter + 1)) >> BY_11) * UNIT


def mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`mix` of many."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> BY_30)) * FIRST
        x = (x ^ (x >> BY_27)) * SECOND
    return x ^ (x >> BY_31)


def uniform_of(state: NDArray[np.uint64] | np.uint64, counter: NDArray | int) -> NDArray[np.float64]:
    """`uniform` of many."""
    with np.errstate(over="ignore"):
        return (mixed(np.asarray(state + GOLDEN * (np.asarray(counter) + 1).astype(np.uint64))) >> BY_11) * UNIT


def key_of(*numbers: int) -> np.uint64:
    """One key of several whole numbers; their order matters."""
    key = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for number in numbers:
            key = mixed(key + GOLDEN ^ np.asarray(number % 2**64, np.uint64))
    return np.uint64(key)
