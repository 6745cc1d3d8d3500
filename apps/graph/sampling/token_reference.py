"""The draws of `TokenSampler` a node at a time in Python: what the compiled loops are held to, number for number."""

__all__ = ["draw_reference"]

import numpy as np
from numpy.typing import NDArray

from apps.graph.compiled import GOLDEN, key_of, mixed, uniform_of
from apps.graph.data.graph import Graph
from apps.graph.tokens import Drawn, TokenSampler

from .token_kernels import LOOK


def draw_reference(sampler: TokenSampler, nodes: NDArray[np.int64], key: int = 0) -> Drawn:
    """The same draws a node at a time from whole pools: what the compiled loops are held to, number for number."""
    want, whole = sampler.count - 1, key_of(sampler.seed, key)
    made = sampler.empty(len(nodes))
    made.tokens[:], made.counts[:] = 0, 0
    for n, node in enumerate(np.asarray(nodes).tolist()):
        with np.errstate(over="ignore"):
            state = mixed(whole ^ (np.asarray(node, np.uint64) * GOLDEN))
        pool, paths = _pool_reference(sampler.graph, node)
        tries, size = len(paths) // LOOK, sampler.graph.nodes
        picks = _by_chance_reference(paths, state, tries, want) if tries > 2 * want else []
        if len(picks) < want and not pool:
            if want <= size:
                picks = []
                for k in range(want):
                    top = size - want + k
                    other = int(uniform_of(state, k) * (top + 1))
                    picks.append(top if other in picks else other)
            else:
                picks = (uniform_of(state, np.arange(want)) * size).astype(np.int64).tolist()
        elif len(picks) < want and len(pool) < want:
            picks = [pool[k % len(pool)] for k in range(want)]
        elif len(picks) < want:
            for k in range(want):
                other = k + int(uniform_of(state, 2 * tries + k) * (len(pool) - k))
                pool[k], pool[other] = pool[other], pool[k]
            picks = pool[:want]
        tokens = list(dict.fromkeys(picks))
        made.tokens[n, : len(tokens) + 1] = [node, *tokens]
        made.counts[n, : len(tokens) + 1] = [1, *(picks.count(token) for token in tokens)]
    return made


def _pool_reference(graph: Graph, node: int) -> tuple[list[int], list[tuple[int, int] | None]]:
    """The pool, and what each edge and each path of two adds to it: None where an earlier path has the same end."""
    rows = [graph.neighbours[graph.offsets[i] : graph.offsets[i + 1]].tolist() for i in range(graph.nodes)]
    near = rows[node]
    paths: list[tuple[int, int] | None] = [(place, other) for place, other in enumerate(near)]
    far: dict[int, None] = {}
    for through in near:
        for other in rows[through]:
            paths.append(None if other in far else (len(near) + other, other))
            far[other] = None
    return near + list(far), paths


def _by_chance_reference(paths: list, state: NDArray[np.uint64], tries: int, want: int) -> list[int]:
    found: dict[int, int] = {}
    for place in (uniform_of(state, np.arange(tries)) * len(paths)).astype(np.int64).tolist():
        if paths[place] is not None and len(found) < want:
            entry, other = paths[place]
            found.setdefault(entry, other)
    return list(found.values())
