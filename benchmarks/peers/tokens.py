"""LargeGT's table of tokens as its release makes it, transcribed: the square of the adjacency matrix by scipy, then a
draw in Python for every node (there in a pool of processes; CPU time is the same)."""

__all__ = ["token_table"]

import random

import numpy as np
import scipy.sparse
from numpy.typing import NDArray


def token_table(offsets: NDArray, neighbours: NDArray, count: int) -> NDArray[np.int64]:
    """(N, count) nodes, each node itself first."""
    nodes = len(offsets) - 1
    near = scipy.sparse.csr_array((np.ones(len(neighbours), np.int64), neighbours, offsets), shape=(nodes, nodes))
    far = near @ near
    rows_near, rows_far = (np.split(m.indices, m.indptr)[1:-1] for m in (near, far))
    everyone, want = list(range(nodes)), count - 1
    table = []
    for node in range(nodes):
        pool = rows_near[node].tolist() + rows_far[node].tolist()
        if not pool:
            drawn = random.sample(everyone, want)
        elif len(pool) < want:
            drawn = (pool * (want // len(pool) + 1))[:want]
        else:
            drawn = random.sample(pool, want)
        table.append([node, *drawn])
    return np.array(table)
