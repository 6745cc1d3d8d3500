"""Random walks: uniform, or with a memory of one step (Grover and Leskovec 2016, "node2vec").

From t to v, the next node x is drawn in proportion to 1/p if x = t, 1 if x is a neighbour of t, 1/q otherwise: drawn
uniformly among the neighbours of v and kept with probability weight / largest weight, which needs no table of pairs of
edges. Walks go to neighbours, that is against the direction of edges; a node without neighbours is stayed at.
"""

__all__ = ["walks"]

import numpy as np
from numpy.typing import NDArray

from apps.graph.compiled import GOLDEN, compiled, key_of, mix, uniform
from apps.graph.data.graph import Graph

from .neighbours import check_ids


def walks(
    graph: Graph, starts: NDArray[np.int64], length: int, p: float = 1.0, q: float = 1.0, seed: int = 0, key: int = 0
) -> NDArray[np.int64]:
    """(S, length + 1) nodes, the starts first.

    Args:
        graph: of any origin; it is checked here, once.
        starts: (S,) ids, any number of times.
        length: steps.
        p: the larger, the less often a walk turns back.
        q: the larger, the closer it stays to where it came from.
        seed, key: of the draws; walk n depends on them and on n alone.

    Raises:
        ValueError: p or q not above 0.
    """
    if p <= 0 or q <= 0:
        raise ValueError(f"walks: p {p} and q {q} must be above 0.")
    graph.check()
    starts = check_ids(starts, graph.nodes, "start")
    made = np.empty((len(starts), length + 1), np.int64)
    _walk(graph.offsets, graph.neighbours, starts, p, q, np.uint64(key_of(seed, key)), made)
    return made


@compiled
def _walk(offsets, neighbours, starts, p, q, key, made):
    plain = p == 1 and q == 1
    top = max(1.0, max(1 / p, 1 / q))
    for n in range(len(starts)):
        state = mix(key ^ (np.uint64(n) * GOLDEN))
        drawn = 0
        made[n, 0] = starts[n]
        for step in range(1, made.shape[1]):
            here = made[n, step - 1]
            begin = offsets[here]
            degree = offsets[here + 1] - begin
            if degree == 0:
                made[n, step] = here
                continue
            while True:
                there = np.int64(neighbours[begin + np.int64(uniform(state, drawn) * degree)])
                drawn += 1
                if plain or step == 1:
                    break
                last = made[n, step - 2]
                weight = 1 / q
                if there == last:
                    weight = 1 / p
                else:
                    a, b = offsets[last], offsets[last + 1]
                    e = a + np.searchsorted(neighbours[a:b], there)
                    if e < b and neighbours[e] == there:
                        weight = 1.0
                drawn += 1
                if uniform(state, drawn - 1) * top < weight:
                    break
            made[n, step] = there
