"""Graphs of millions of nodes, one thread: `python -m benchmarks graph_large`, ten minutes and 12 GiB, not by default.

Numbers here are what is allowed over what was taken, in CPU seconds or in bytes: above 1 is within. The names say what
was taken.

    graph_large_tree      hierarchy of clusters of 1 M nodes, 10 M edges, in 10 s
    graph_large_sampling  neighbours of 1024 nodes at fan-out 15-10 in graphs of 1 M to 100 M edges: the time of a drawn
                          edge grows by caches alone; batches with features from a file, 60,000 seeds a second
    graph_large_products  the shape of ogbn-products (2,449,029 nodes, 61,859,140 undirected edges, 100 features): rows
                          from a list of edges in 30 s, tokens, spread features, steps of LargeGT (K 100, h 256, 4096
                          codes) within 20 GiB
"""

__all__ = ["GROUPS"]

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from apps.graph.cluster_tree import ClusterTree
from apps.graph.data.generators import PowerLaw
from apps.graph.data.graph import Graph, open_graph
from apps.graph.data.items import NodeSet
from apps.graph.data.loaders import Neighbourhoods
from apps.graph.data.sampled_tokens import SampledTokens
from apps.graph.metrics import accuracy
from apps.graph.models.largegt import LargeGT
from apps.graph.sampling.neighbours import Neighbours
from apps.graph.tokens import TokenSampler
from benchmarks.harness import Ratio

Row = tuple[str, Ratio, float | None]
NODES, EDGES = 2_449_029, 61_859_140


def _taken(run: Callable[[], object]) -> tuple[float, object]:
    start = time.process_time()
    made = run()
    return time.process_time() - start, made


def _memory() -> float:
    """Largest memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _share(name: str, allowed: float, taken: float) -> Row:
    return name, Ratio(allowed / taken, allowed / taken, allowed / taken), 1.0


def graph_large_tree(repeats: int) -> Iterator[Row]:
    nodes = PowerLaw(1_000_000, 10_000_000, splits=1).load()
    ClusterTree(Graph.of(np.array([[0], [1]]), 2), np.ones((2, 3), np.float32))  # compiled
    taken, tree = _taken(lambda: ClusterTree(nodes.graph, nodes.features))
    levels = ", ".join(f"{n:,}" for n in tree.counts)
    yield _share(f"tree of 1 M nodes, 10 M edges ({levels}): {taken:.1f} s of 10", 10, taken)


def graph_large_sampling(repeats: int) -> Iterator[Row]:
    costs = []
    for edges in (500_000, 5_000_000, 50_000_000):
        graph = PowerLaw(max(edges // 20, 100_000), edges, features=1, splits=1).load().graph
        sampler = Neighbours(graph, (15, 10))
        seeds = np.random.default_rng(1).permutation(graph.nodes)[: 64 * 1024].reshape(64, -1)
        sampler.sample(seeds[0])
        drawn, times = 0, []
        for key, batch in enumerate(seeds):
            taken, made = _taken(partial(sampler.sample, batch, key))
            times.append(taken)
            drawn += len(made.columns)
        costs.append(sum(times) / drawn * 1e9)
        yield (
            f"{graph.nodes:,} nodes, {graph.edges / 1e6:.0f} M edges: {costs[-1]:.0f} ns of 300 a drawn edge, "
            f"{drawn // 64:,} a batch, {_memory():.1f} GiB so far",
            Ratio(*[300 / costs[-1]] * 3),
            1.0,
        )
    with tempfile.TemporaryDirectory() as folder:
        loader = _stored(Path(folder))
        batches = [loader[n] for n in range(3)]
        del batches
        times = [_taken(partial(loader.__getitem__, n))[0] for n in range(3, 40)]
    rate = 1024 / statistics.median(times)
    yield (
        f"1 M nodes, 20 M edges, 64 features in a file: {rate:,.0f} seeds/s of 60,000",
        Ratio(*[rate / 60_000] * 3),
        1.0,
    )


def _stored(folder: Path) -> object:
    """Numbered batches of a graph and features in files."""
    nodes = PowerLaw(1_000_000, 10_000_000, features=64, splits=1).load()
    nodes.graph.save(folder / "graph")
    np.save(folder / "features.npy", nodes.features)
    features = np.load(folder / "features.npy", mmap_mode="r")
    opened = nodes._replace(graph=open_graph(folder / "graph"), features=features)
    return Neighbourhoods((15, 10), 1024).batches(opened, None, nodes.splits[0].train, 0, True)


def products() -> tuple[NodeSet, float]:
    """A set of that shape, and the seconds that its rows took."""
    random = np.random.default_rng(0)
    drawn = PowerLaw(NODES, EDGES, classes=47, features=1, splits=1)
    nodes = drawn.load()
    # The list of edges again, in the order of a file: both directions mixed.
    source, target = np.asarray(nodes.graph.neighbours), nodes.graph.targets.astype(np.int32)
    keep = source < target
    edges = np.stack([source[keep], target[keep]])
    del source, target, keep
    nodes = nodes._replace(graph=Graph.of(np.zeros((2, 0), np.int64), NODES))
    order = random.permutation(edges.shape[1]).astype(np.int32)
    edges = np.ascontiguousarray(edges[:, order])
    del order
    Graph.of(edges[:, :10], NODES, undirected=True)
    taken, graph = _taken(lambda: Graph.of(edges, NODES, undirected=True))
    features = random.standard_normal((NODES, 100), np.float32)
    train = np.sort(random.permutation(NODES)[:196_615])
    split = nodes.splits[0]._replace(train=train)
    return NodeSet(graph, features, nodes.labels, [split], nodes.classes, accuracy), taken


def largegt_steps(nodes: NodeSet, folder: str, batch_size: int, steps: int, device: str = "cpu") -> dict[str, float]:
    """Seconds of a batch and of a training step of the recipe for ogbn-products.

    Args:
        nodes: of `products`.
        folder: for spread features.
        batch_size: nodes of a step.
        steps: that are timed, after one that is not.
        device: of the network.
    """
    clock = time.process_time if device == "cpu" else time.perf_counter
    loading = SampledTokens(100, batch_size, redraw=True, folder=folder)
    position = torch.randn(nodes.graph.nodes, 64)
    start = clock()
    batches = loading.batches(nodes, position, nodes.splits[0].train, 0, True)
    facts = {"spread features, s": clock() - start}
    torch.manual_seed(0)
    model = LargeGT(nodes.features.shape[1], 47, 256, 2, codes=4096, position_dim=64).to(device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    waits, works = [], []
    for n in range(steps + 1):
        start = clock()
        batch = batches[n]
        middle = clock()
        batch = batch.to(device)
        cross_entropy(model.classify(batch), batch.y).backward()
        optimizer.step()
        optimizer.zero_grad()
        if device != "cpu":
            torch.cuda.synchronize()
        waits.append(middle - start)
        works.append(clock() - middle)
    facts |= {"batch, s": statistics.median(waits[1:]), "step, s": statistics.median(works[1:])}
    return facts | {"steps an epoch": float(len(batches)), "host memory, GiB": _memory()}


def graph_large_products(repeats: int) -> Iterator[Row]:
    nodes, taken = products()
    graph = nodes.graph
    name = f"rows of {graph.nodes:,} nodes, {graph.edges / 2e6:.1f} M undirected edges: {taken:.1f} s of 30"
    yield _share(name, 30, taken)
    sampler = TokenSampler(graph, 100)
    sampler.draw(np.arange(10))
    few = np.random.default_rng(1).permutation(graph.nodes)[:20_000]
    taken, _ = _taken(lambda: sampler.draw(few))
    whole = taken / len(few) * graph.nodes
    yield _share(
        f"tokens, K 100: {taken / len(few) * 1e6:.0f} us of 200 a node, {whole:.0f} s for all", 200e-6, taken / len(few)
    )
    with tempfile.TemporaryDirectory() as folder:
        facts = largegt_steps(nodes, folder, 256, 2)
    said = ", ".join(f"{key} {value:.2f}" for key, value in facts.items())
    yield _share(f"LargeGT, batch 256 ({said}): GiB of 20", 20, facts["host memory, GiB"])


GROUPS = {
    "graph_large_tree": graph_large_tree,
    "graph_large_sampling": graph_large_sampling,
    "graph_large_products": graph_large_products,
}
