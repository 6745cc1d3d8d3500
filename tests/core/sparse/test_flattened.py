import pytest
import torch

from core.sparse import Sites
from core.sparse.flattened import flattened, groups


def plane(counts, grid=(26, 26), seed=0):
    made = torch.Generator().manual_seed(seed)
    rows = []
    for sample, count in enumerate(counts):
        cells = torch.randperm(grid[0] * grid[1], generator=made)[:count].sort().values
        rows.append(torch.stack([torch.full_like(cells, sample), cells // grid[1], cells % grid[1]], 1))
    return Sites(torch.cat(rows), grid, len(counts))


@pytest.mark.parametrize("size", [1, 4, 7])
@pytest.mark.parametrize("counts", [[0], [3], [4], [9, 0, 2, 8], [0, 0, 5], [30]])
def test_every_row_stands_in_one_place_of_its_own_sample(counts, size):
    offsets = torch.tensor([0, *counts]).cumsum(0)
    made = groups(offsets, size)
    total = sum(counts)
    assert made.slots.shape == (sum(-(-n // size) for n in counts), size)
    assert torch.equal(made.slots.flatten()[made.place], torch.arange(total))
    sample = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    assert all(len(row.unique()) == 1 for row in sample[made.slots])
    empty = sum(size - n for n in counts if 0 < n < size)
    assert (0 if made.mask is None else int((~made.mask).sum())) == empty


def test_a_last_group_takes_in_the_end_of_the_one_before():
    made = groups(torch.tensor([0, 10]), 4)
    assert made.slots.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 6, 7]] and made.mask is None


@pytest.mark.parametrize("outer", [0, 1])
@pytest.mark.parametrize("shifted", [False, True])
def test_dense_small_grids_keep_samples_apart(outer, shifted):
    """26 x 26 places, windows of 13: there the release's keys of two samples overlap."""
    sites = plane([676, 676, 5])
    made = flattened(sites, (13, 13), 32, shifted=shifted, outer=outer)
    samples = sites.coords[made.rows, 0]
    assert (samples == samples[:, :1]).all()
    assert torch.equal(made.rows.flatten()[made.place], torch.arange(len(sites)))
    # The order of a sample does not depend on the others.
    alone = flattened(plane([676]), (13, 13), 32, shifted=shifted, outer=outer)
    first = -(-676 // 32)
    assert torch.equal(made.rows[:first], alone.rows)


def test_neighbours_along_the_curve_are_neighbours_on_the_map():
    """On a full grid of whole windows the plough never jumps farther than to the next window."""
    sites = plane([24 * 24], (24, 24))
    rows = flattened(sites, (6, 6), 24 * 24).rows.flatten()
    steps = sites.coords[rows, 1:].diff(dim=0).abs().amax(1)
    assert steps.max() <= 11 and (steps == 1).float().mean() > 0.8


def test_wrong_arguments():
    with pytest.raises(ValueError, match="at least 1"):
        groups(torch.tensor([0, 3]), 0)
    with pytest.raises(ValueError, match="give a plane"):
        flattened(Sites(torch.zeros(1, 4, dtype=torch.int64), (2, 2, 2), 1), (2, 2), 4)
