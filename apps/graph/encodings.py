"""Where a node stands in its graph, as numbers: added to features or attended by. Each is an object that makes (N, P)
float32 of a graph; edges count as undirected and self loops as absent.

    Laplacian     eigenvectors of I - D^-1/2 A D^-1/2 (Dwivedi and Bresson 2021), the trivial ones left out
    RandomWalk    chances to be back after 1 .. P steps (Dwivedi et al. 2022)
    Node2Vec      embeddings of nodes that share walks (Grover and Leskovec 2016), of our own walks
    Degree        log(1 + degree), and the degree's quantile
    Hops          distance to some nodes, 1 / (1 + steps), 0 where there is no way
"""

__all__ = ["Degree", "Encoding", "Hops", "Laplacian", "Node2Vec", "RandomWalk"]

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh
from scipy.stats import rankdata

from apps.graph.compiled import GOLDEN, compiled, key_of, mix, uniform
from apps.graph.data.graph import Graph
from apps.graph.sampling.walks import walks
from core.errors import UserError
from core.training.draws import generator

Values = NDArray[np.float32]


class Encoding:
    """Base class: called with a graph, gives (N, P) float32."""

    def __call__(self, graph: Graph) -> Values:
        raise TypeError(f"{type(self).__name__} must define __call__")


class Laplacian(Encoding):
    """Eigenvectors of the smallest eigenvalues that are not 0.

    Eigenvalue 0 comes once for every component and is left out, as are isolated nodes, which get 0. The sign of an
    eigenvector is arbitrary: it is chosen so that the entry of largest size is positive (the first of those equal to 6
    digits), the same on every machine; flip signs at random in training so that nothing is learnt of it. Eigenvectors
    of one eigenvalue remain arbitrary among themselves.

    Args:
        count: P; columns beyond the eigenvectors there are hold 0.
        seed: of the iteration's start.
    """

    def __init__(self, count: int = 8, seed: int = 0):
        self.count, self.seed = count, seed

    def __call__(self, graph: Graph) -> Values:
        made = np.zeros((graph.nodes, self.count), np.float32)
        adjacency = _adjacency(graph)
        degrees = np.asarray(adjacency.sum(1)).ravel()
        linked = np.nonzero(degrees > 0)[0]
        if not len(linked):
            return made
        root = 1 / np.sqrt(degrees[linked])
        normal = adjacency[linked][:, linked].tocoo()
        normal = csr_array((root[normal.row] * normal.data * root[normal.col], (normal.row, normal.col)), normal.shape)
        trivial = connected_components(normal, directed=False, return_labels=False)
        wanted = min(self.count + trivial, len(linked))
        if wanted >= len(linked) - 1 or len(linked) < 64:
            values, vectors = np.linalg.eigh(normal.toarray())
        else:
            start = generator(self.seed, 0).standard_normal(len(linked))
            values, vectors = eigsh(normal, k=wanted, which="LA", v0=start)
        vectors = vectors[:, np.argsort(-values)][:, trivial : trivial + self.count]
        largest = np.abs(vectors).round(6).argmax(0)
        vectors = vectors * np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1, 1)
        made[linked, : vectors.shape[1]] = vectors
        return made


class RandomWalk(Encoding):
    """Diagonals of the powers of D^-1 A, exactly: powers of sparse matrices, whose rows fill up after some steps.

    Args:
        count: P, the steps.
        chunk: nodes at a time, which bounds the memory to chunk x N numbers.
    """

    def __init__(self, count: int = 8, chunk: int = 512):
        self.count, self.chunk = count, chunk

    def __call__(self, graph: Graph) -> Values:
        adjacency = _adjacency(graph)
        degrees = np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1)
        step = csr_array((adjacency.data / np.repeat(degrees, np.diff(adjacency.indptr)), adjacency.indices,
                          adjacency.indptr), adjacency.shape)  # fmt: skip
        made = np.zeros((graph.nodes, self.count), np.float32)
        for first in range(0, graph.nodes, self.chunk):
            rows = np.arange(first, min(first + self.chunk, graph.nodes))
            # Sources of the chunk in columns: one sparse product a step, dense once it is full anyway.
            spread = np.zeros((graph.nodes, len(rows)))
            spread[rows, rows - first] = 1
            for n in range(self.count):
                spread = step @ spread
                made[rows, n] = spread[rows, rows - first]
        return made


class Degree(Encoding):
    """log(1 + degree) and the share of nodes with a smaller one, ties halved."""

    def __call__(self, graph: Graph) -> Values:
        degrees = np.diff(_adjacency(graph).indptr)
        quantile = (rankdata(degrees) - 0.5) / max(len(degrees), 1)
        return np.stack([np.log1p(degrees), quantile], 1).astype(np.float32)


class Hops(Encoding):
    """Nearness to the nodes of largest degree, 1 / (1 + steps).

    Args:
        count: P nodes, ties by their number.
        far: steps beyond which a node counts as out of reach.
    """

    def __init__(self, count: int = 8, far: int = 10):
        self.count, self.far = count, far

    def __call__(self, graph: Graph) -> Values:
        adjacency = _adjacency(graph)
        anchors = np.argsort(-np.diff(adjacency.indptr), kind="stable")[: self.count]
        made = np.zeros((graph.nodes, self.count), np.float32)
        for n, anchor in enumerate(anchors):
            reached = np.zeros(graph.nodes, bool)
            front = np.zeros(graph.nodes)
            front[anchor] = 1
            for steps in range(self.far + 1):
                new = (front > 0) & ~reached
                if not new.any():
                    break
                made[new, n] = 1 / (1 + steps)
                reached |= new
                front = adjacency @ new.astype(np.float64)
        return made


class Node2Vec(Encoding):
    """Skip-gram with negative samples over walks, trained a pair at a time in an order of the seed (no threads, so the
    same every time). Rows of nodes without edges stay at their random start.

    Args:
        width: P.
        length: steps of a walk.
        context: nodes to each side that count as near.
        per_node: walks from every node.
        negatives: drawn for every pair, nodes in proportion to degree^(3/4).
        p, q: of the walks.
        epochs: passes over new walks.
        rate: step size at the start; it falls to 0.
        seed: of walks, start and negatives.
    """

    def __init__(
        self,
        width: int = 64,
        length: int = 20,
        context: int = 5,
        per_node: int = 10,
        negatives: int = 3,
        p: float = 1.0,
        q: float = 1.0,
        epochs: int = 1,
        rate: float = 0.05,
        seed: int = 0,
    ):
        if min(width, length, context, per_node, negatives, epochs) < 1:
            raise UserError("Node2Vec: width, length, context, per_node, negatives and epochs must be at least 1.")
        self.width, self.length, self.context, self.per_node = width, length, context, per_node
        self.negatives, self.p, self.q, self.epochs, self.rate, self.seed = negatives, p, q, epochs, rate, seed

    def __call__(self, graph: Graph) -> Values:
        plain = graph.undirected().without_loops()
        random = generator(self.seed, 0)
        made = ((random.random((graph.nodes, self.width), np.float32) - 0.5) / self.width).astype(np.float32)
        other = np.zeros_like(made)
        chances = np.cumsum(plain.degrees**0.75)
        if not plain.edges:
            return made
        rounds = self.epochs * self.per_node
        for n in range(rounds):
            starts = random.permutation(np.nonzero(plain.degrees)[0])
            paths = walks(plain, starts, self.length, self.p, self.q, self.seed, n)
            rates = np.array([self.rate * (1 - n / rounds), self.rate * (1 - (n + 1) / rounds)], np.float32)
            _skip_gram(
                paths, self.context, self.negatives, chances, np.uint64(key_of(self.seed, n)), rates, made, other
            )
        return made


@compiled
def _skip_gram(paths, context, negatives, chances, key, rates, made, other):
    width = made.shape[1]
    change = np.empty(width, np.float32)
    for n in range(len(paths)):
        rate = rates[0] + (rates[1] - rates[0]) * np.float32(n / len(paths))
        state = mix(key ^ (np.uint64(n) * GOLDEN))
        drawn = 0
        for a in range(paths.shape[1]):
            for b in range(max(0, a - context), min(paths.shape[1], a + context + 1)):
                if a == b:
                    continue
                node = paths[n, a]
                change[:] = 0
                for k in range(negatives + 1):
                    there = paths[n, b]
                    if k:
                        there = np.searchsorted(chances, uniform(state, drawn) * chances[-1], side="right")
                        drawn += 1
                        if there == paths[n, b]:
                            continue
                    score = np.float32(0)
                    for c in range(width):
                        score += made[node, c] * other[there, c]
                    wanted = np.float32(1 if k == 0 else 0)
                    step = rate * (wanted - np.float32(1) / (np.float32(1) + np.exp(-score)))
                    for c in range(width):
                        change[c] += step * other[there, c]
                        other[there, c] += step * made[node, c]
                for c in range(width):
                    made[node, c] += change[c]


def _adjacency(graph: Graph) -> csr_array:
    """Ones at the edges, both ways, no loops."""
    plain = graph.undirected().without_loops().without_duplicates()
    ones = np.ones(plain.edges)
    return csr_array((ones, np.asarray(plain.neighbours), np.asarray(plain.offsets)), (graph.nodes, graph.nodes))
