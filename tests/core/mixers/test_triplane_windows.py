import pytest
import torch

from core.layout import Ragged, coordinates
from core.mixers import TriPlaneWindowAttention
from core.testing import Case, check_mixer

DIM, HEADS = 12, 6


def convolved(part, x, places):
    """Neighbours are found by comparing all coordinates."""
    steps = places[:, None] - places
    near = (steps.abs() <= 1).all(-1)
    taps = part.weight[tuple((-steps + 1).clamp(0, 2).unbind(-1))]
    summed = (taps * x[None] * near[..., None]).sum(1)
    hidden = torch.nn.functional.gelu(part.norm(summed))
    return torch.cat([part.point_norm(part.point(x)), part.near_norm(part.near(hidden))], -1)


def by_definition(mixer, x):
    """Scores of the whole map: pairs in other windows are forbidden, tables are read pair by pair."""
    places = coordinates(x.shape[1:-1], dtype=torch.float64).flatten(0, -2)
    return torch.stack([of_points(mixer, row.flatten(0, -2), places) for row in x]).view_as(x)


def of_points(mixer, x, places):
    voxels, places = places.floor().long(), places - places.amin(0)
    heads, width = mixer.heads // 3, DIM // mixer.heads
    qkv = mixer.qkv(convolved(mixer.before, x, voxels))
    q, k, v = (t.unflatten(-1, (mixer.heads, width)) for t in qkv.chunk(3, -1))
    parts = []
    for plane, thin in enumerate((2, 1, 0)):
        size = torch.full((3,), float(mixer.window), dtype=torch.float64)
        size[thin] = 1
        moved = places + size / 2 if mixer.shifted else places
        window = (moved / size).floor()
        cell = ((moved - window * size) / mixer.quantum).floor().long()
        rows = cell[:, None] - cell + mixer.cells - 1
        of_q, of_k, of_v = (
            sum(table[rows[..., axis], axis] for axis in range(3))
            for table in (mixer.q_table, mixer.k_table, mixer.v_table)
        )
        own = slice(plane * heads, (plane + 1) * heads)
        i, j, values = q[:, own] * width**-0.5, k[:, own], v[:, own]
        logits = torch.einsum("ihd,jhd->hij", i, j) + torch.einsum("ihd,ijhd->hij", i, of_q)
        logits = logits + torch.einsum("jhd,ijhd->hij", j, of_k)
        together = (window[:, None] == window).all(-1)
        weights = logits.masked_fill(~together, -torch.inf).softmax(-1)
        parts.append(torch.einsum("hij,jhd->ihd", weights, values) + torch.einsum("hij,ijhd->ihd", weights, of_v))
    return mixer.out(convolved(mixer.after, torch.cat(parts, 1).flatten(1), voxels))


def mixed(*args, **options):
    """Tables and norms away from where they start, so that they are seen."""
    mixer = TriPlaneWindowAttention(*args, **options)
    for name, value in [*mixer.named_parameters(), *mixer.named_buffers()]:
        if "table" in name:
            torch.nn.init.normal_(value)
        elif "running_mean" in name:
            torch.nn.init.normal_(value, std=0.1)
    return mixer


CASES = {
    "windows": Case(lambda: mixed(DIM, HEADS, 2, quantum=0.5), DIM, [(1, 1, 1), (2, 3, 1), (3, 4, 3)], by_definition),
    "shifted": Case(lambda: mixed(DIM, 3, 3, quantum=1, shifted=True), DIM, [(1, 1, 1), (4, 2, 5)], by_definition),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def points(counts, seed=0, extent=6.0):
    """One point a voxel at most, somewhere in it."""
    random = torch.Generator().manual_seed(seed)
    segments, places = [], []
    for count in counts:
        voxel = torch.randperm(int(extent) ** 3, generator=random)[:count]
        place = torch.stack(torch.unravel_index(voxel, (int(extent),) * 3), 1).double()
        places.append(place + torch.rand(count, 3, generator=random, dtype=torch.float64))
        segments.append(torch.randn(count, DIM, generator=random, dtype=torch.float64))
    return segments, places


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(("window", "quantum"), [(4, 0.5), (3, 0.25), (2.5, 0.5), (3, 1.5)])
def test_points_by_definition(window, quantum, shifted):
    mixer = mixed(DIM, HEADS, window, quantum=quantum, shifted=shifted).double().eval()
    segments, places = points([40, 0, 17])
    y = mixer(Ragged.of(segments, places)).tokens
    alone = [of_points(mixer, x, p) for x, p in zip(segments, places, strict=True) if len(x)]
    torch.testing.assert_close(y, torch.cat(alone))


def test_points_on_a_grid_are_the_grid():
    mixer = mixed(DIM, HEADS, 3, quantum=0.5, shifted=True).eval()
    x = torch.randn(2, 4, 5, 3, DIM)
    sets = Ragged.of(list(x.flatten(1, 3)), [coordinates((4, 5, 3)).flatten(0, 2)] * 2)
    torch.testing.assert_close(mixer(sets).tokens.view_as(x), mixer(x), rtol=1e-5, atol=1e-5)


def test_whole_voxel_steps_move_the_windows_along():
    mixer = mixed(DIM, HEADS, 4, quantum=0.5, shifted=True).double().eval()
    (x,), (place,) = points([40])
    there = mixer(Ragged.of([x], [place + torch.tensor([7.0, -12.0, 3.0])])).tokens
    torch.testing.assert_close(there, mixer(Ragged.of([x], [place])).tokens)


def test_official_windows_begin_at_the_smallest_coordinate_of_the_batch():
    ours, theirs = (mixed(DIM, HEADS, 4, quantum=0.5, official=official).double().eval() for official in (False, True))
    theirs.load_state_dict(ours.state_dict())
    segments, places = points([30, 20])
    places[1] = places[1] + 1.3
    single = Ragged.of(segments[:1], places[:1])
    torch.testing.assert_close(theirs(single).tokens, ours(single).tokens)
    both = theirs(Ragged.of(segments, places)).tokens[30:]
    assert not torch.allclose(both, theirs(Ragged.of(segments[1:], places[1:])).tokens)


def test_points_of_one_voxel_share_their_neighbourhood():
    mixer = mixed(DIM, HEADS, 2, quantum=0.5).double().eval()
    x = torch.randn(3, DIM, dtype=torch.float64)
    place = torch.tensor([[0.2, 0.3, 0.4], [0.7, 0.1, 0.9], [1.5, 0.5, 0.5]], dtype=torch.float64)
    y = mixer(Ragged.of([x, x.flip(0)], [place, place.flip(0)])).tokens
    torch.testing.assert_close(y[3:], y[:3].flip(0))


def test_trains_on_sets_with_empty_and_single_points():
    mixer = TriPlaneWindowAttention(DIM, HEADS, 2)
    x = Ragged.of([torch.randn(1, DIM)], [torch.zeros(1, 3)])
    assert mixer(x).tokens.isfinite().all()
    assert not mixer(Ragged.of([torch.randn(0, DIM)], [torch.zeros(0, 3)])).tokens.numel()


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="a third of them for each plane"):
        TriPlaneWindowAttention(12, 4, 2)
    with pytest.raises(ValueError, match="a quantum that divides it"):
        TriPlaneWindowAttention(12, 3, 2, quantum=0.3)
    with pytest.raises(ValueError, match="three axes and a whole number"):
        TriPlaneWindowAttention(12, 3, 2.5, quantum=0.5)(torch.randn(1, 2, 2, 2, 12))
    mixer = TriPlaneWindowAttention(12, 3, 2)
    with pytest.raises(ValueError, match="three axes"):
        mixer(torch.randn(1, 2, 2, 12))
    with pytest.raises(ValueError, match="three for each point"):
        mixer(Ragged.of([torch.randn(2, 12)]))
    with pytest.raises(ValueError, match="NaN or infinity"):
        mixer(Ragged.of([torch.randn(2, 12)], [torch.tensor([[0.0, 1, 2], [0, torch.nan, 0]])]))
    with pytest.raises(ValueError, match="larger voxels"):
        mixer(Ragged.of([torch.randn(2, 12)], [torch.tensor([[0.0, 0, 0], [1e9, 1e9, 1e9]])]))
    with pytest.raises(ValueError, match="no padding"):
        mixer(Ragged.of([torch.randn(2, 12)], [torch.zeros(2, 3)]), mask=torch.ones(2, dtype=torch.bool))
