import copy
import pickle

import pytest
import torch

from core.layout import Ragged, coordinates, grid_of, pack, pad, per_token, unpack, zero_padding


def test_coordinates_are_pixel_centres():
    places = coordinates((2, 3))
    assert places.shape == (2, 3, 2)
    assert places[1, 2].tolist() == [1, 2]


def test_two_grids_share_the_query_frame():
    assert coordinates((2,), frame=(4,)).flatten().tolist() == [0.5, 2.5]
    assert coordinates((4,), frame=(2,)).flatten().tolist() == [-0.25, 0.25, 0.75, 1.25]


@pytest.mark.parametrize("grid", [(5,), (3, 4), (2, 3, 2)])
def test_pack_and_unpack_are_inverse(grid):
    x = torch.randn(3, *grid, 4)
    mask = torch.rand(3, *grid) > 0.5
    mask[1] = False
    packed = pack(x, mask)
    packed.check()
    assert packed.lengths.tolist() == mask.flatten(1).sum(1).tolist()
    assert torch.equal(unpack(packed, mask), zero_padding(x, mask))
    assert torch.equal(packed.coords, coordinates(grid).expand(3, *grid, len(grid))[mask])


def test_pad_puts_segments_side_by_side():
    segments = [torch.randn(n, 2) for n in (3, 0, 1)]
    x, mask = pad(Ragged.of(segments))
    assert mask.tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    for row, real, segment in zip(x, mask, segments, strict=True):
        assert torch.equal(row[real], segment)
        assert not row[~real].any()
    assert pad(Ragged.of(segments), 5)[0].shape == (3, 5, 2)
    with pytest.raises(ValueError, match="give at least 3"):
        pad(Ragged.of(segments), 2)


def test_zero_padding_silences_nan():
    x = torch.tensor([[[1.0], [float("nan")]]])
    assert zero_padding(x, torch.tensor([[True, False]])).tolist() == [[[1.0], [0.0]]]
    assert zero_padding(x, None) is x
    with pytest.raises(ValueError, match="boolean mask of shape"):
        zero_padding(x, torch.ones(1, 2))
    with pytest.raises(ValueError, match="boolean mask of shape"):
        zero_padding(x, torch.ones(1, 3, dtype=torch.bool))


def test_ragged_moves_copies_and_pickles():
    x = Ragged.of([torch.randn(2, 3), torch.randn(1, 3)], [torch.zeros(2, 2), torch.ones(1, 2)])
    for other in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), per_token(lambda t: t, x)):
        assert isinstance(other, Ragged)
        assert all(torch.equal(a, b) for a, b in zip(other, x, strict=True))
    assert x.batch == 2
    assert x.segment_ids().tolist() == [0, 0, 1]
    assert [s.tokens.shape[0] for s in x.segments()] == [2, 1]


@pytest.mark.parametrize("offsets", [[0, 2], [1, 3], [0, 2, 1, 3], []])
def test_ragged_check_names_wrong_offsets(offsets):
    with pytest.raises(ValueError, match="must rise from 0"):
        Ragged(torch.zeros(3, 1), torch.tensor(offsets)).check()


def test_ragged_check_names_missing_coordinates():
    with pytest.raises(ValueError, match="2 coordinates for 3 tokens"):
        Ragged(torch.zeros(3, 1), torch.tensor([0, 3]), torch.zeros(2, 1)).check()


def test_grid_of_refuses_other_ranks():
    assert grid_of(torch.zeros(1, 2, 3, 4)) == (2, 3)
    for shape in [(2, 3), (1, 2, 3, 4, 5, 6)]:
        with pytest.raises(ValueError, match="one to three grid axes"):
            grid_of(torch.zeros(shape))
