"""A small graph with an isolated node, and parts of it: the fixture `small`."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from apps.graph.data.graph import Graph
from apps.graph.models.relation import layers_of
from core.ops.csr import Csr


def graph(nodes=20, edges=60, seed=0, loops=True, symmetric=True):
    """The last node has no edge but, with `loops`, the one to itself."""
    random = np.random.default_rng(seed)
    made = Graph.of(random.integers(0, nodes - 1, (2, edges)), nodes, undirected=symmetric).without_loops()
    return made.with_loops() if loops else made


def features(nodes=20, channels=5, seed=0, dtype=torch.float64):
    return torch.randn(nodes, channels, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def neighbourhood(whole, seeds, depth):
    """All nodes within `depth` edges of the seeds, every edge into those within depth - 1; (nodes, csr, hops)."""
    nodes, hops = list(seeds), [len(seeds)]
    for _ in range(depth):
        new = []
        for i in nodes[len(nodes) - hops[-1] :]:
            for j in whole.neighbours[whole.offsets[i] : whole.offsets[i + 1]]:
                if j not in nodes and j not in new:
                    new.append(int(j))
        nodes += new
        hops.append(len(new))
    place = {n: k for k, n in enumerate(nodes)}
    rows = len(nodes) - hops[-1]
    lists = [[place[int(j)] for j in whole.neighbours[whole.offsets[i] : whole.offsets[i + 1]]] for i in nodes[:rows]]
    offsets = torch.tensor([0, *np.cumsum([len(row) for row in lists])])
    csr = Csr(offsets, torch.tensor([j for row in lists for j in row]), len(nodes))
    return torch.tensor(nodes), csr, hops


def drawn_layers(whole, seeds, depth, looped):
    """(ids of the columns, a relation a layer)."""
    nodes, csr, hops = neighbourhood(whole, seeds, depth)
    degrees = torch.from_numpy(whole.degrees)[nodes]
    return nodes, layers_of(csr, depth, degrees, hops, looped)


@pytest.fixture(scope="session")
def small():
    return SimpleNamespace(graph=graph, features=features, neighbourhood=neighbourhood, drawn_layers=drawn_layers)
