import pytest
import torch
from torch.nn import functional as F

from core.layout import Ragged, coordinates
from core.mixers import PointPairTransformer
from core.ops.point_pairs import pair_features_reference, pair_sinusoids, places_and_normals
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2
WIDTH = DIM // HEADS


def embedding(mixer, coords):
    places, normals = places_and_normals(coords)
    f = pair_features_reference(places[:, None], normals[:, None], places, normals)
    return F.normalize(mixer.embed(pair_sinusoids(f, DIM)), dim=-1)


def block_by_definition(block, x, other, e, other_e):
    split = (-1, (HEADS, WIDTH))
    q, k, v = block.q(x), block.k(other), block.v(other)
    if hasattr(block, "pair_key"):
        k, v = k + block.pair_key(e), v + block.pair_value(e)
    else:
        k, v = k.expand(len(x), *k.shape), v.expand(len(x), *v.shape)
        if block.place_q is not None:
            own, theirs = e.amax(1), other_e.amax(1)
            q, k, v = q + block.place_q(own), k + block.place_k(theirs), v + block.place_v(theirs)
    q, k, v = q.unflatten(*split), k.unflatten(*split), v.unflatten(*split)
    weights = (torch.einsum("ihd,ijhd->hij", q, k) * WIDTH**-0.5).softmax(-1)
    x = block.norm(x + block.out(torch.einsum("hij,ijhd->ihd", weights, v).flatten(1)))
    return block.feed_norm(x + block.feed(x))


def of_points(mixer, x, coords, other=None, other_coords=None):
    e = embedding(mixer, coords)
    other_e = None if other is None else embedding(mixer, other_coords)
    for block in mixer.blocks:
        if hasattr(block, "pair_key"):
            x = block_by_definition(block, x, x, e, e)
            other = None if other is None else block_by_definition(block, other, other, other_e, other_e)
        elif other is None:
            x = block_by_definition(block, x, x, e, e)
        else:
            x = block_by_definition(block, x, other, e, other_e)
            other = block_by_definition(block, other, x, other_e, e)
    return x, other


def by_definition(mixer, x):
    places = coordinates(x.shape[1:-1], dtype=torch.float64).flatten(0, -2)
    return torch.stack([of_points(mixer, row.flatten(0, -2), places)[0] for row in x]).view_as(x)


def mixed(*cross, cross_embedding=False):
    mixer = PointPairTransformer(DIM, HEADS, cross, cross_embedding=cross_embedding)
    for name, value in mixer.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(value, std=0.3)
    return mixer


CASES = {
    "own and cross": Case(lambda: mixed(False, True, False), DIM, [(1,), (5,)], by_definition),
    "places in cross blocks": Case(
        lambda: mixed(False, True, cross_embedding=True), DIM, [(1, 1), (3, 2)], by_definition
    ),
    "cross alone": Case(lambda: mixed(True), DIM, [(1, 1, 1), (2, 1, 3)], by_definition),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def clouds(counts, seed=0):
    random = torch.Generator().manual_seed(seed)
    return Ragged.of(*([torch.randn(n, w, generator=random, dtype=torch.float64) for n in counts] for w in (DIM, 6)))


def turned(x, seed):
    q, r = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    q = q * r.diagonal().sign()
    q = q * torch.linalg.det(q)
    return x._replace(coords=torch.cat([x.coords[:, :3] @ q.T + seed, x.coords[:, 3:] @ q.T], 1))


@pytest.mark.parametrize("cross_embedding", [False, True])
def test_two_sets_by_definition_one_after_the_other(cross_embedding):
    mixer = mixed(False, True, True, cross_embedding=cross_embedding).double()
    x, other = clouds([7, 4, 1]), clouds([5, 6, 2], seed=1)
    ours = mixer.both(x, other)
    made = [
        of_points(mixer, a.tokens, a.coords, b.tokens, b.coords)
        for a, b in zip(x.segments(), other.segments(), strict=True)
    ]
    torch.testing.assert_close(ours[0].tokens, torch.cat([first for first, _ in made]))
    torch.testing.assert_close(ours[1].tokens, torch.cat([second for _, second in made]))
    torch.testing.assert_close(mixer(x, context=other).tokens, ours[0].tokens)


@pytest.mark.parametrize("cross_embedding", [False, True])
def test_each_set_may_be_turned_by_itself(cross_embedding):
    mixer = mixed(False, True, False, cross_embedding=cross_embedding).double()
    x, other = clouds([20, 9]), clouds([15, 11], seed=1)
    before, after = mixer.both(x, other), mixer.both(turned(x, 2), turned(other, 3))
    for a, b in zip(before, after, strict=True):
        assert (a.tokens - b.tokens).abs().max() < 1e-9


def test_an_empty_other_set_is_nothing_to_attend_to():
    mixer = mixed(False, True, cross_embedding=True).double()
    x = clouds([4, 3])
    first, second = mixer.both(x, clouds([0, 2]))
    assert first.tokens.isfinite().all() and len(second.tokens) == 2
    torch.autograd.grad(first.tokens.sum(), list(mixer.parameters()), allow_unused=True)


def test_coincident_points_train():
    mixer = mixed(False, True, cross_embedding=True).double()
    x = clouds([6])
    x = x._replace(coords=x.coords[:1].expand(6, 6).clone().requires_grad_())
    gradients = torch.autograd.grad(mixer(x).tokens.square().sum(), list(mixer.parameters()))
    assert all(g.isfinite().all() for g in gradients)


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="a multiple of 8"):
        PointPairTransformer(12, 2)
    mixer, x = mixed(False, True).double(), clouds([3, 2])
    with pytest.raises(ValueError, match="without coordinates"):
        mixer(x._replace(coords=None))
    with pytest.raises(ValueError, match="2 sets and 1 of context"):
        mixer.both(x, clouds([3]))
    with pytest.raises(ValueError, match="no masks"):
        mixer(x, context=torch.randn(1, 3, DIM, dtype=torch.float64))
    with pytest.raises(ValueError, match="with a ragged context"):
        mixer(torch.randn(1, 3, DIM, dtype=torch.float64), context=x)
