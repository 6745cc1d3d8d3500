"""Batches of sampled tokens, and LargeGT on them."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from apps.graph.data.datamodule import GraphData
from apps.graph.data.generators import ContextualSbm
from apps.graph.data.graph import Graph
from apps.graph.data.items import NodeSet, Source, Split
from apps.graph.data.sampled_tokens import SampledTokens
from apps.graph.data.spread import spread_features
from apps.graph.encodings import Degree
from apps.graph.metrics import accuracy
from apps.graph.models.diffusion import spread, tokens
from apps.graph.models.largegt import LargeGT
from core.errors import UserError


class Given(Source):
    label = "given"

    def __init__(self, nodes: NodeSet):
        self.nodes = nodes

    def load(self):
        return self.nodes


def directed(nodes=50):
    random = np.random.default_rng(0)
    graph = Graph.of(random.integers(0, nodes - 1, (2, 160)), nodes)
    split = Split(*np.split(np.arange(nodes), [20, 35]))
    return NodeSet(
        graph,
        random.standard_normal((nodes, 5), np.float32),
        np.arange(nodes) % 3,
        [split],
        ("a", "b", "c"),
        accuracy,
    )


def data(loading, source=None, **options):
    return GraphData(source or ContextualSbm(300, train=0.4), loading=loading, evaluation=loading, **options)


@pytest.mark.parametrize("redraw", [False, True])
@pytest.mark.parametrize("outgoing", [False, True])
def test_what_a_batch_holds(redraw, outgoing):
    loading = SampledTokens(7, 8, redraw, outgoing)
    made = data(loading, Given(directed()), encodings=(Degree(),))
    nodes = made.nodes
    graph = nodes.graph.transposed() if outgoing else nodes.graph
    hops = torch.stack(list(spread(torch.from_numpy(nodes.features), graph.csr, 2, tokens)), 1)
    assert made.channels == 5 and made.encoding.shape[1] > 0
    seen = []
    for batch in made.test_dataloader():
        own = batch.nodes.numpy()
        seen += own.tolist()
        assert torch.equal(batch.x, torch.from_numpy(nodes.features[own]))
        assert torch.equal(batch.encoding, made.encoding[batch.nodes])
        assert batch.targets.tolist() == list(range(len(own))) and batch.y.tolist() == nodes.labels[own].tolist()
        assert batch.degrees.tolist() == nodes.graph.degrees[own].tolist() and batch.csr.edges == 0
        features, index, counts = batch.tokens
        assert len(features.unique(dim=0)) == len(features)  # every node once
        assert torch.equal(features[index[:, 0]], hops[batch.nodes])
        assert (counts.sum(1) == 7).all() and (counts[:, 0] == 1).all()
        near = [set(graph.neighbours[slice(*graph.offsets[n : n + 2])].tolist()) for n in range(50)]
        for row, node in enumerate(own.tolist()):
            reach = near[node] | {far for n in near[node] for far in near[n]}
            rows = features[index[row, 1:][counts[row, 1:] > 0]]
            found = {int((hops == one).all(2).all(1).nonzero()[0, 0]) for one in rows}
            assert found <= (reach or set(range(50)))
    assert sorted(seen) == made.parts.test.tolist()


def sequences(batch):
    """(S, K) tokens of a batch by their features, with repetitions, rows sorted."""
    features, index, counts = batch.tokens
    return [features[i.repeat_interleave(c)].sum((1, 2)).sort().values for i, c in zip(index, counts, strict=True)]


def test_tokens_of_an_epoch_depend_on_seed_and_epoch_alone():
    def epochs(redraw, workers=0):
        torch.manual_seed(7)
        loader = data(SampledTokens(6, 32, redraw), workers=workers).train_dataloader()
        made = []
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            made.append({int(n): row for b in loader for n, row in zip(b.nodes, sequences(b), strict=True)})
        return made

    first, second = epochs(True)
    fixed = epochs(False)
    assert sum(torch.equal(first[n], second[n]) for n in first) < 40 < len(first)
    assert all(torch.equal(fixed[0][n], fixed[1][n]) for n in fixed[0])
    shared = epochs(True, workers=1)
    assert all(torch.equal(a[n], b[n]) for a, b in zip((first, second), shared, strict=True) for n in a)
    for redraw in (False, True):
        made = data(SampledTokens(6, 32, redraw))
        for a, b in zip(made.val_dataloader(), made.val_dataloader(), strict=True):
            assert torch.equal(a.tokens.index, b.tokens.index)


def test_kept_in_a_folder(tmp_path):
    source = Given(directed())
    held = list(data(SampledTokens(6, 16), source).test_dataloader())
    for _ in range(2):
        made = data(SampledTokens(6, 16, folder=str(tmp_path / "kept")), source)
        for ours, theirs in zip(made.test_dataloader(), held, strict=True):
            for a, b in zip(ours.tokens, theirs.tokens, strict=True):
                assert torch.equal(a, b)
    rows = made.batches("test").rows
    assert isinstance(rows, np.memmap) and rows.shape == (50, 3, 5)
    with pytest.raises(UserError, match="another graph or operator"):
        data(SampledTokens(6, 16, outgoing=True, folder=str(tmp_path / "kept")), source).test_dataloader()
    other = Given(directed()._replace(features=directed().features + 1))
    with pytest.raises(UserError, match="another graph or operator"):
        data(SampledTokens(6, 16, folder=str(tmp_path / "kept")), other).test_dataloader()


def test_spread_features_by_columns_are_those_at_once():
    random = np.random.default_rng(0)
    graph = Graph.of(random.integers(0, 40, (2, 100)), 40)
    x = random.standard_normal((40, 70), np.float32)
    made = spread_features(x, graph, ((tokens, 2),))
    expected = torch.stack(list(spread(torch.from_numpy(x), graph.csr, 2, tokens)), 1)
    torch.testing.assert_close(torch.from_numpy(made), expected)
    assert spread_features(x, graph, ((tokens, 2),)) is made
    assert spread_features(x.copy(), graph, ((tokens, 2),)) is not made


def network(**settings):
    torch.manual_seed(0)
    made = LargeGT(5, 3, 8, 2, codes=6, position_dim=2, norm=nn.LayerNorm, **settings).double()
    for weight in made.parameters():
        nn.init.normal_(weight, std=0.5)
    made(torch.randn(9, 6, 5).double(), torch.randn(9, 2).double())  # it has codes now
    return made.eval()


def test_told_once_or_repeated_largegt_says_the_same():
    """Every token by itself, as the release has them, in float64 with gradients of all weights."""
    batch = next(iter(data(SampledTokens(9, 12), Given(directed())).test_dataloader()))
    features, index, counts = batch.tokens
    assert (counts > 1).any() and (index[:, 1:] == index[:, :1])[counts[:, 1:] > 0].any()
    batch.tokens = batch.tokens._replace(features=features.double())
    batch.encoding = torch.randn(len(batch.nodes), 2).double()
    repeated = torch.stack([i.repeat_interleave(c) for i, c in zip(index, counts, strict=True)])
    rows = features.double()[repeated].flatten(1, 2)
    model = network()
    ours, theirs = model.classify(batch), model(rows, batch.encoding)
    torch.testing.assert_close(ours, theirs)
    probe, weights = torch.randn_like(ours), [p for p in model.parameters()]
    grads = (torch.autograd.grad((y * probe).sum(), weights) for y in (ours, theirs))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("settings", [{}, {"codes": 0}, {"local": False}], ids=["full", "local", "global"])
def test_largegt_learns(settings):
    torch.manual_seed(0)
    made = data(SampledTokens(8, 120), encodings=(Degree(),))
    options = {"codes": 16, "position_dim": made.encoding.shape[1], "dropout": 0.1, "local_dropout": 0.1} | settings
    model = LargeGT(made.channels, 4, 16, 2, **options)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    (batch,) = made.train_dataloader()
    losses = []
    for _ in range(60):
        y = model.classify(batch)
        assert y.shape == (120, 4)
        losses.append(cross_entropy(y, batch.y))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def test_ids_go_to_the_device_and_rows_are_gathered_there(monkeypatch):
    source = Given(directed())
    with pytest.raises(UserError, match="there is no GPU; leave it out"):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        data(SampledTokens(6, 16, on_device=True), source).test_dataloader()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    held = list(data(SampledTokens(6, 16), source).test_dataloader())
    made = data(SampledTokens(6, 16, on_device=True), source)
    for ours, theirs in zip(made.test_dataloader(), held, strict=True):
        assert ours.tokens.features.ndim == 1 and torch.equal(ours.x, theirs.x)
        carried = pickle.loads(pickle.dumps(ours.tokens))
        for tokens_ in (ours.tokens, carried):
            assert all(torch.equal(a, b) for a, b in zip(tokens_.to("cpu"), theirs.tokens, strict=True))
        moved = ours.to("meta").tokens
        assert moved.features.shape == theirs.tokens.features.shape and moved.features.device.type == "meta"
    kept = made.batches("test").elsewhere
    assert made.batches("train").elsewhere is kept and kept.on("cpu") is kept.on("cpu")


def test_what_cannot_be_is_said():
    with pytest.raises(UserError, match=r"--data.loading: count 1 must be in 2 .. 32767"):
        SampledTokens(1)
    with pytest.raises(UserError, match="batch_size 0 at least 1"):
        SampledTokens(5, 0)
