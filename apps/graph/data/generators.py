"""Graphs drawn with known classes, for demonstrations, tests and measurements of any size.

    ContextualSbm  contextual stochastic block model (Deshpande et al. 2018, "Contextual stochastic block models"): all
                   nodes of a class are alike
    PowerLaw       the same with degrees of a power law: a node of rank r within its class is an end with a chance
                   proportional to r^(-1 / (exponent - 1)) (Chung and Lu 2002)

Every edge draws its first end, then with chance `homophily` another node of the same class, otherwise one of another
class. Features are the class's mean, `signal` long in a drawn direction, plus noise of deviation 1 in every column. So
a network without edges is limited by `signal`, one with edges by degree and homophily, and at homophily 1 / classes
edges say nothing. Edges are functions of (seed, number), one after the other: O(E), in compiled code.
"""

__all__ = ["ContextualSbm", "PowerLaw"]

import numpy as np
from numpy.typing import NDArray

from apps.graph.compiled import GOLDEN, compiled, key_of, mix, uniform
from apps.graph.metrics import accuracy
from core.errors import UserError
from core.training.draws import generator

from .graph import Graph
from .items import NodeSet, Source
from .splits import random_split

# Straight pieces of the distribution of ranks.
STEPS = 4096


class PowerLaw(Source):
    """A drawn graph with hubs.

    Args:
        nodes: N.
        edges: undirected edges drawn; loops and repetitions are dropped.
        classes: as many as there are, of equal size.
        homophily: chance that an edge stays within its class.
        exponent: of the distribution of degrees, above 2.
        features: F.
        signal: distance of a class's mean from 0, in deviations of one column.
        train: share of nodes to train on; half of the others is validation.
        splits: how many, of different seeds.
        seed: of everything.
    """

    def __init__(
        self,
        nodes: int = 20_000,
        edges: int = 200_000,
        classes: int = 5,
        homophily: float = 0.5,
        exponent: float = 2.5,
        features: int = 16,
        signal: float = 1.0,
        train: float = 0.5,
        splits: int = 3,
        seed: int = 0,
    ):
        if classes < 2 or nodes < 2 * classes or edges < 0 or features < 1 or splits < 1:
            raise UserError(
                f"--data: nodes {nodes} must be at least twice the classes {classes}, which are 2 or more; edges "
                f"{edges} not negative, features {features} and splits {splits} at least 1."
            )
        if not 0 <= homophily <= 1 or not 0 < train < 1 or not exponent > 2:
            raise UserError(
                f"--data: homophily {homophily:g} must be in 0 .. 1, train {train:g} between 0 and 1, exponent "
                f"{exponent:g} above 2."
            )
        self.nodes, self.edges, self.classes, self.homophily = nodes, edges, classes, homophily
        self.features, self.signal, self.train, self.splits, self.seed = features, signal, train, splits, seed
        # The chance of rank r falls as r^-slant; 0 makes all alike.
        self.slant = 1 / (exponent - 1)
        self.label = f"power-law graph of {nodes} nodes"

    def load(self) -> NodeSet:
        random = generator(self.seed, 1)
        order = random.permutation(self.nodes)
        labels = np.empty(self.nodes, np.int64)
        labels[order] = np.arange(self.nodes) * self.classes // self.nodes
        # `order` holds the classes one behind the other, each in the order of its ranks.
        starts = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=self.classes))])
        small = np.int32 if self.nodes < 2**31 else np.int64
        edges = np.empty((2, self.edges), small)
        ranks = _ranks(self.nodes // self.classes, self.slant)
        _draw(order.astype(small), starts, self.homophily, ranks, np.uint64(key_of(self.seed, 2)), edges)
        graph = Graph.of(edges, self.nodes, undirected=True).without_loops()
        means = random.standard_normal((self.classes, self.features))
        means *= self.signal / np.linalg.norm(means, axis=1, keepdims=True)
        features = random.standard_normal((self.nodes, self.features), np.float32)
        for n in range(self.classes):
            features[order[starts[n] : starts[n + 1]]] += means[n].astype(np.float32)
        shares = self.train, (1 - self.train) / 2
        splits = [random_split(np.arange(self.nodes), key_of(self.seed, n) % 2**32, shares) for n in range(self.splits)]
        return NodeSet(graph, features, labels, splits, tuple(f"class {n}" for n in range(self.classes)), accuracy)


class ContextualSbm(PowerLaw):
    """A drawn graph whose nodes differ in class alone.

    Args:
        nodes: N.
        degree: mean of the nodes.
        classes: as many as there are, of equal size.
        homophily: chance that an edge stays within its class.
        features: F.
        signal: distance of a class's mean from 0, in deviations of one column.
        train: share of nodes to train on; half of the others is validation.
        splits: how many, of different seeds.
        seed: of everything.
    """

    def __init__(
        self,
        nodes: int = 3000,
        degree: float = 10.0,
        classes: int = 4,
        homophily: float = 0.5,
        features: int = 16,
        signal: float = 1.0,
        train: float = 0.1,
        splits: int = 3,
        seed: int = 0,
    ):
        edges = round(nodes * degree / 2)
        super().__init__(nodes, edges, classes, homophily, 3.0, features, signal, train, splits, seed)
        self.slant, self.label = 0.0, f"stochastic block model of {nodes} nodes"


def _ranks(size: int, slant: float) -> NDArray[np.float64]:
    """(STEPS + 1,) rank, as a share of all, up to which the chance is n / STEPS, where it falls as (rank + 1)^-slant.

    The inverse of the integral of the chance; straight lines in between are off by less than a thousandth of a rank.
    """
    top = (size + 1.0) ** (1 - slant)
    return (((np.arange(STEPS + 1) / STEPS) * (top - 1) + 1) ** (1 / (1 - slant)) - 1) / size


@compiled
def _draw(order, starts, homophily, ranks, key, edges):
    classes = len(starts) - 1
    for e in range(edges.shape[1]):
        state = mix(key ^ (np.uint64(e) * GOLDEN))
        own = np.int64(uniform(state, 0) * classes)
        other = own
        if uniform(state, 1) >= homophily:
            other = np.int64(uniform(state, 2) * (classes - 1))
            if other >= own:
                other += 1
        edges[0, e] = order[starts[own] + _rank(uniform(state, 3), starts[own + 1] - starts[own], ranks)]
        edges[1, e] = order[starts[other] + _rank(uniform(state, 4), starts[other + 1] - starts[other], ranks)]


@compiled
def _rank(u, size, ranks):
    place = u * STEPS
    n = np.int64(place)
    share = ranks[n] + (place - n) * (ranks[n + 1] - ranks[n])
    return min(np.int64(share * size), size - 1)
