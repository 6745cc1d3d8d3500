import pytest
import torch
from torch.nn import functional as F

from core import checkpoint
from core.layout import Ragged
from core.mixers import ViewSetEncoder
from core.mixers.goldens_points import VSFORMER
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2


def by_definition(mixer, x):
    shape = x.shape
    x = x.flatten(1, -2)
    for layer in mixer.layers:
        own = layer.attention
        q, k, v = (F.linear(layer.norm(x), p.weight).unflatten(-1, (HEADS, -1)) for p in (own.q, own.k, own.v))
        weights = (torch.einsum("bnhd,bmhd->bhnm", q, k) * (DIM // HEADS) ** -0.5).softmax(-1)
        x = x + own.out(torch.einsum("bhnm,bmhd->bnhd", weights, v).flatten(2))
        x = x + layer.feed.leave(F.gelu(layer.feed.enter(layer.feed_norm(x))))
    return x.view(shape)


CASES = {
    "views": Case(lambda: ViewSetEncoder(DIM, HEADS, depth=2), DIM, [(1,), (2,), (7,)], by_definition),
    "dropped in training alone": Case(
        lambda: ViewSetEncoder(DIM, HEADS, depth=2, hidden=12, dropout=0.1, feed_dropout=0.5, drop_path=0.5),
        DIM,
        [(1, 1), (3, 2)],
        by_definition,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_order_of_views_changes_nothing():
    mixer = ViewSetEncoder(DIM, HEADS).double()
    x, order = torch.randn(2, 9, DIM, dtype=torch.float64), torch.randperm(9)
    torch.testing.assert_close(mixer(x[:, order]), mixer(x)[:, order])


@pytest.mark.parametrize("ragged", [False, True])
def test_a_dropped_sample_keeps_what_it_was(ragged):
    mixer = ViewSetEncoder(DIM, HEADS, depth=2, drop_path=0.5).double()
    mixer.layers[0].eval()
    x = torch.randn(200, 3, DIM, dtype=torch.float64)
    first = mixer.layers[0](x, None)
    torch.manual_seed(0)
    y = mixer(Ragged.of(list(x))).tokens.view_as(x) if ragged else mixer(x)
    left_alone = (y == first).flatten(1).all(1)
    assert 20 < left_alone.sum() < 90  # a quarter loses both branches of the last layer
    assert (y != 0).flatten(1).any(1).all()


@pytest.mark.parametrize("ragged", [False, True])
def test_official_drops_sums(ragged):
    mixer = ViewSetEncoder(DIM, HEADS, depth=2, drop_path=0.5, official=True).double()
    x = torch.randn(200, 3, DIM, dtype=torch.float64)
    torch.manual_seed(0)
    y = mixer(Ragged.of(list(x))).tokens.view_as(x) if ragged else mixer(x)
    # The second drop makes zeros of half the samples; one dropped by the first alone gets the MLP's biases.
    zero = (y == 0).flatten(1).all(1)
    assert 70 < zero.sum() < 130
    correct = ViewSetEncoder(DIM, HEADS, depth=2, drop_path=0.5).double()
    correct.load_state_dict(mixer.state_dict())
    torch.testing.assert_close(mixer.eval()(x), correct.eval()(x), rtol=0, atol=0)


@pytest.mark.parametrize("official", [False, True])
def test_each_drop_keeps_the_mean(official):
    layer = ViewSetEncoder(DIM, HEADS, depth=2, drop_path=0.5, official=official).double().layers[1]
    x, branch = torch.randn(1, 1, DIM).double(), torch.randn(1, 1, DIM).double()
    mean = layer._add(x.expand(20000, 1, DIM), branch.expand(20000, 1, DIM), 0.0).mean(0)
    torch.testing.assert_close(mean, (x + branch)[0], atol=0.1, rtol=0)


def test_checkpoints_of_the_release_fit():
    torch.manual_seed(0)
    official = {"cls_head.decoder.2.weight": torch.randn(4, 4)}
    for i in range(3):
        part = f"encoder.sa_layers.{i}."
        for name in "qkvo":
            official[f"{part}sa.attention.{name}_proj.weight"] = torch.randn(DIM, DIM)
        official[f"{part}sa.attention.o_proj.bias"] = torch.randn(DIM)
        for name in ("sa.norm", "mlp.0"):
            official |= {f"{part}{name}.weight": torch.randn(DIM), f"{part}{name}.bias": torch.randn(DIM)}
        official |= {f"{part}mlp.1.weight": torch.randn(16, DIM), f"{part}mlp.1.bias": torch.randn(16)}
        official |= {f"{part}mlp.3.weight": torch.randn(DIM, 16), f"{part}mlp.3.bias": torch.randn(DIM)}
    mixer = ViewSetEncoder(DIM, HEADS, depth=3)
    checkpoint.load(mixer, official, VSFORMER)
    assert torch.equal(mixer.layers[2].attention.v.weight, official["encoder.sa_layers.2.sa.attention.v_proj.weight"])


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="a share in"):
        ViewSetEncoder(8, 2, drop_path=1.0)
    with pytest.raises(ValueError, match="no padding"):
        ViewSetEncoder(8, 2)(Ragged.of([torch.randn(2, 8)]), mask=torch.ones(2, dtype=torch.bool))
