"""Graphs beside their peers: `python -m benchmarks graph`, one thread.

    graph_aggregation  sums, maxima and attention over 1 M edges, forward and backward, against a copy of x for every
                       edge and index_add (what PyG's layers do without compiled extensions)
    graph_layers       whole layers of PyG on a graph of 11,758 nodes and 1 M edges (the size of tolokers), hidden 64,
                       forward and backward, with the same weights
    graph_sampling     neighbours of 1024 nodes in a power-law graph of 1 M nodes and 20 M edges, against the same draw
                       in torch alone
    graph_tokens       LargeGT's table of tokens of 20 k nodes, 300 k edges, K = 50, against its release's path

Results are compared before anything is timed.
"""

__all__ = ["GROUPS"]

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from apps.graph.data.generators import PowerLaw
from apps.graph.data.graph import Graph
from apps.graph.sampling.neighbours import Neighbours
from apps.graph.tokens import Drawn, TokenSampler
from benchmarks.harness import Ratio, compare, train
from benchmarks.peers.neighbours import torch_sample
from benchmarks.peers.tokens import token_table
from core.ops.csr import Csr, csr_mean, csr_sum, csr_sum_reference
from core.ops.csr_attend import csr_attend, csr_attend_reference
from core.ops.csr_max import csr_max, csr_max_reference

Row = tuple[str, Ratio, float | None]
EDGES = 1_000_000


def _relation(nodes: int) -> Csr:
    edges = np.random.default_rng(0).integers(0, nodes, (2, EDGES))
    return Graph.of(edges, nodes, keep_duplicates=True).csr


def _agree(mine: Tensor, theirs: Tensor) -> None:
    error = ((mine - theirs).norm() / theirs.norm()).item()
    if not error < 1e-5:
        raise AssertionError(f"outputs differ by {error:.1e}")


def graph_aggregation(repeats: int) -> Iterator[Row]:
    for nodes, width, demand in ((100_000, 128, 4.0), (10_000, 128, 10.0), (100_000, 32, 4.0)):
        csr, x = _relation(nodes), torch.randn(nodes, width, requires_grad=True)
        size = f"{nodes // 1000}k nodes x {width}"
        _agree(csr_sum(x, csr), csr_sum_reference(x, csr))
        ours, theirs = (train(partial(form, csr=csr), x) for form in (csr_sum, csr_sum_reference))
        yield f"sum, {size}: gather, index_add", compare(ours, theirs, min(repeats, 7)), demand
    csr, x = _relation(10_000), torch.randn(10_000, 64, requires_grad=True)
    ours, theirs = (train(partial(form, csr=csr), x) for form in (csr_max, csr_max_reference))
    yield "largest, 10k nodes x 64: gather, scatter_reduce", compare(ours, theirs, min(repeats, 3)), 4.0
    for heads in (1, 8):
        leaves = [torch.randn(10_000, heads, 64 // heads), torch.randn(10_000, heads), torch.randn(10_000, heads)]
        leaves = [t.requires_grad_() for t in leaves]
        _agree(csr_attend(*leaves, csr), csr_attend_reference(*leaves, csr))
        ours, theirs = (train(partial(form, csr=csr), *leaves) for form in (csr_attend, csr_attend_reference))
        ratio = compare(ours, theirs, min(repeats, 5))
        yield f"attention, {heads} x {64 // heads}, 10k nodes: gather, index_add", ratio, 2.0


def graph_layers(repeats: int) -> Iterator[Row]:
    if find_spec("torch_geometric") is None:
        print("Left out: torch_geometric is not installed.\n")
        return
    from torch_geometric.nn import GATConv, GCNConv, SAGEConv

    nodes = 11_758
    graph = Graph.of(np.random.default_rng(0).integers(0, nodes, (2, 519_000)), nodes, undirected=True).with_loops()
    csr, edges = graph.csr, torch.from_numpy(graph.edge_index())
    x = torch.randn(nodes, 64, requires_grad=True)
    scale = csr.degrees.float().rsqrt()[:, None]

    gcn = GCNConv(64, 64, add_self_loops=False)

    def our_gcn(x: Tensor, weight: Tensor) -> Tensor:
        return csr_sum((x @ weight.T) * scale, csr) * scale + gcn.bias

    weight = gcn.lin.weight
    _agree(our_gcn(x, weight), gcn(x, edges))
    ours, theirs = train(our_gcn, x, weight), train(lambda x, _: gcn(x, edges), x, weight)
    yield "GCN: PyG's GCNConv", compare(ours, theirs, min(repeats, 5)), 10.0

    sage = SAGEConv(64, 64)

    def our_sage(x: Tensor, weight: Tensor) -> Tensor:
        return torch.nn.functional.linear(csr_mean(x, csr), weight, sage.lin_l.bias) + sage.lin_r(x)

    weight = sage.lin_l.weight
    _agree(our_sage(x, weight), sage(x, edges))
    ours, theirs = train(our_sage, x, weight), train(lambda x, _: sage(x, edges), x, weight)
    yield "SAGE: PyG's SAGEConv", compare(ours, theirs, min(repeats, 5)), 5.0

    for heads in (1, 8):
        gat = GATConv(64, 64 // heads, heads, add_self_loops=False)

        def our_gat(x: Tensor, weight: Tensor, gat: GATConv = gat, heads: int = heads) -> Tensor:
            h = (x @ weight.T).view(nodes, heads, -1)
            made = csr_attend(h, (h * gat.att_src).sum(-1), (h * gat.att_dst).sum(-1), csr)
            return made.flatten(1) + gat.bias

        weight = gat.lin.weight
        _agree(our_gat(x, weight), gat(x, edges))
        ours, theirs = train(our_gat, x, weight), train(lambda x, _, gat=gat: gat(x, edges), x, weight)
        yield f"GAT, {heads} heads: PyG's GATConv", compare(ours, theirs, min(repeats, 3)), 2.0


def graph_sampling(repeats: int) -> Iterator[Row]:
    graph = PowerLaw(1_000_000, 10_000_000, features=1, splits=1).load().graph
    offsets, neighbours = torch.from_numpy(graph.offsets), torch.from_numpy(graph.neighbours)
    slots = torch.full((graph.nodes,), -1)
    seeds = np.random.default_rng(1).permutation(graph.nodes)[: 64 * 1024].reshape(64, 1024)
    for fan_out in ((15, 10), (25, 10), (15, 10, 5)):
        sampler, turn = Neighbours(graph, fan_out), iter(range(1_000_000))

        def ours(sampler: Neighbours = sampler, turn: Iterator[int] = turn) -> object:
            n = next(turn)
            return sampler.sample(seeds[n % 64], n)

        def theirs(fan_out: tuple[int, ...] = fan_out, turn: Iterator[int] = turn) -> object:
            return torch_sample(offsets, neighbours, torch.from_numpy(seeds[next(turn) % 64]), fan_out, slots)

        rows = torch_sample(offsets, neighbours, torch.from_numpy(seeds[0]), fan_out, slots)[1]
        if abs(len(rows) / len(sampler.sample(seeds[0]).columns) - 1) > 0.02:
            raise AssertionError(f"fan-out {fan_out}: {len(rows)} edges drawn by torch, others by ours")
        edges = len(sampler.sample(seeds[0]).columns)
        name = f"fan-out {'-'.join(map(str, fan_out))}, {edges // 1000}k edges: torch alone"
        yield name, compare(ours, theirs, repeats), 2.0


def graph_tokens(repeats: int) -> Iterator[Row]:
    graph = PowerLaw(20_000, 150_000, features=1, splits=1).load().graph
    sampler = TokenSampler(graph, 50)
    theirs = token_table(graph.offsets, graph.neighbours, 50)
    drawn = sampler.table().drawn
    if not (drawn.counts.sum(1) == 50).all() or abs(theirs.mean() / _mean(drawn) - 1) > 0.01:
        raise AssertionError("the tables are of different nodes")
    ratio = compare(sampler.table, lambda: token_table(graph.offsets, graph.neighbours, 50), min(repeats, 5))
    yield "table of tokens: A A by scipy, draws in Python", ratio, 5.0


def _mean(drawn: Drawn) -> float:
    return float((drawn.tokens * drawn.counts).sum() / drawn.counts.sum())


GROUPS = {
    "graph_aggregation": graph_aggregation,
    "graph_layers": graph_layers,
    "graph_sampling": graph_sampling,
    "graph_tokens": graph_tokens,
}
