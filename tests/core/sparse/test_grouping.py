import pytest
import torch

from core.sparse import Sites, windows


def cloud(batch=3, grid=(3, 9, 11), share=0.3, empty=1):
    made = torch.Generator().manual_seed(0)
    occupied = torch.rand(batch, *grid, generator=made) < share
    occupied[empty] = False
    return Sites(occupied.nonzero(), grid, batch)


@pytest.mark.parametrize("window", [(None, 4, 4), (1, 9, 2), (2, 2, 3), (None, 100, 100), (None, None, None)])
@pytest.mark.parametrize("shift", [None, (0, 2, 1), (0, 6, 6)])
def test_windows_are_the_rows_that_share_a_box(window, shift):
    sites = cloud()
    made = windows(sites, window, shift)
    places = torch.stack(
        [
            sites.coords[:, axis] * 0
            if own is None
            else (sites.coords[:, axis] + (shift or (0, 0, 0))[axis - 1]) // own
            for axis, own in enumerate(window, 1)
        ],
        1,
    )
    boxes = torch.cat([sites.coords[:, :1], places], 1)
    names, numbers = boxes.unique(dim=0, return_inverse=True)
    assert len(made.offsets) == len(names) + 1 and made.offsets[-1] == len(sites)
    ours = torch.repeat_interleave(torch.arange(len(names)), made.offsets.diff())
    # The same partition, whatever the numbers.
    pairs = torch.stack([numbers[made.order], ours], 1).unique(dim=0)
    assert len(pairs) == len(names)
    assert torch.equal(made.order[made.place], torch.arange(len(sites)))
    # Raster order inside of a window.
    inside = ours[1:] == ours[:-1]
    assert (made.order.diff()[inside] > 0).all()


def test_windows_are_made_once():
    sites = cloud()
    assert windows(sites, (None, 4, 4)) is windows(sites, (None, 4, 4))
    assert windows(sites, (None, 4, 4)) is not windows(sites, (None, 4, 4), (0, 2, 2))


def test_no_sites_no_windows():
    sites = Sites(torch.zeros(0, 4, dtype=torch.int64), (3, 4, 5), 2)
    made = windows(sites, (None, 2, 2))
    assert made.offsets.tolist() == [0] and not len(made.order)


def test_wrong_extents_are_refused():
    with pytest.raises(ValueError, match="an extent of at least 1"):
        windows(cloud(), (None, 0, 2))
    with pytest.raises(ValueError, match="a grid axis"):
        windows(cloud(), (2, 2))
