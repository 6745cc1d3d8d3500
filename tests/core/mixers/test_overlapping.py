import pytest
import torch

from core.layout import coordinates
from core.mixers import OverlappingAttention, PartitionAttention
from core.partitions import Overlapping
from core.positions import RelativeTable
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2
MAPS = [(1, 1), (3, 4), (5, 7)]


def by_definition(mixer, x):
    """Query by query: the keys around its window, zeros for those beyond the map where the release counts them."""
    parts, partition = mixer.groups, mixer.partition
    grid, reach = x.shape[1:-1], [w + o for w, o in zip(partition.window, partition.after, strict=True)]
    q, k, v = (p(x).unflatten(-1, (HEADS, -1)) for p in (parts.q, parts.k, parts.v))
    out = torch.zeros_like(q)
    for place in coordinates(grid).flatten(0, -2).long().tolist():
        starts = [p // w * w for p, w in zip(place, partition.window, strict=True)]
        ends = [min(s + w, n) for s, w, n in zip(starts, partition.window, grid, strict=True)]
        ranges = [
            torch.arange(s - b, e + a)
            for s, e, b, a in zip(starts, ends, partition.before, partition.after, strict=True)
        ]
        scores, values = [], []
        for other in torch.cartesian_prod(*ranges).view(-1, len(grid)).tolist():
            inside = all(0 <= o < n for o, n in zip(other, grid, strict=True))
            if not inside and not partition.beyond:
                continue
            row = 0
            for p, o, r in zip(place, other, reach, strict=True):
                row = row * (2 * r - 1) + p - o + r - 1
            at, to = (slice(None), *place), (slice(None), *other)
            key = k[to] if inside else torch.zeros_like(k[at])
            values.append(v[to] if inside else torch.zeros_like(v[at]))
            scores.append((q[at] * key).sum(-1) * q.shape[-1] ** -0.5 + parts.score_bias.table[row])
        weights = torch.stack(scores).softmax(0)
        out[(slice(None), *place)] = (weights[..., None] * torch.stack(values)).sum(0)
    return parts.out(out.flatten(-2))


CASES = {
    "windows": Case(lambda: OverlappingAttention(DIM, HEADS, (3, 2), (1, 2)), DIM, MAPS, by_definition),
    "official": Case(
        lambda: OverlappingAttention(DIM, HEADS, (2, 2), (1, 1), official=True),
        DIM,
        MAPS,
        by_definition,
        without=("mask",),
    ),
    "sequence": Case(lambda: OverlappingAttention(DIM, HEADS, (4,), (2,)), DIM, [(1,), (4,), (11,)], by_definition),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_what_lies_beyond_the_map_is_left_out_unless_the_release_is_asked_for():
    torch.manual_seed(0)
    ours, theirs = (
        OverlappingAttention(DIM, HEADS, (2, 2), (1, 1)),
        OverlappingAttention(DIM, HEADS, (2, 2), (1, 1), official=True),
    )
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(1, 6, 6, DIM)
    # Inner windows have no key beyond the map.
    torch.testing.assert_close(ours(x)[:, 2:4, 2:4], theirs(x)[:, 2:4, 2:4])
    assert ((ours(x) - theirs(x)).abs()[:, 0] > 1e-6).any()
    with pytest.raises(ValueError, match="official=True counts keys beyond the map"):
        theirs(x, mask=torch.ones(1, 6, 6, dtype=torch.bool))


def test_is_partition_attention_in_overlapping_windows():
    torch.manual_seed(0)
    general = PartitionAttention(
        DIM, HEADS, Overlapping((3, 2), (1, 2), (1, 2)), score_bias=RelativeTable(HEADS, (4, 4))
    )
    mixer = OverlappingAttention(DIM, HEADS, (3, 2), (1, 2))
    mixer.load_state_dict(general.state_dict())
    x = torch.randn(2, 7, 8, DIM)
    torch.testing.assert_close(general(x), mixer(x))


@pytest.mark.parametrize("window, overlap", [((2, 2), (1,)), ((0, 2), (1, 1)), ((2,), (-1,))])
def test_refuses_sizes_that_mean_nothing(window, overlap):
    with pytest.raises(ValueError, match="give one window from 1 and one overlap from 0 an axis"):
        OverlappingAttention(DIM, HEADS, window, overlap)
