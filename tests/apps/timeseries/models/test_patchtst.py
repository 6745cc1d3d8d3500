"""PatchTST: equal to its release, except where that loses the newest steps."""

from pathlib import Path

import pytest
import torch

from apps.timeseries.heads import Quantiles
from apps.timeseries.models import positions
from apps.timeseries.models.goldens_patchtst import PATCHTST
from apps.timeseries.models.patchtst import Patches, PatchTST
from core.verify import read, verify

GOLDENS = sorted((Path(__file__).parents[3] / "golden" / "patchtst").glob("*.safetensors"))
SMALL = {"dim": 8, "heads": 2, "depth": 1, "hidden": 12, "patch_length": 4, "stride": 4, "dropout": 0.0}


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, PATCHTST[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


@pytest.mark.parametrize(
    ("pad_end", "drop_newest", "expected"),
    [
        (False, False, [[2, 3, 4, 5], [5, 6, 7, 8], [8, 9, 10, 11]]),
        (False, True, [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]),
        (True, False, [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9], [9, 10, 11, 11]]),
    ],
)
def test_patches_of_a_window_that_does_not_divide(pad_end, drop_newest, expected):
    cut = Patches(12, 4, 3, pad_end, drop_newest)
    patches = cut(torch.arange(12.0)[None, :, None])
    assert patches.shape[2] == cut.count
    assert patches[0, 0].tolist() == expected


def test_targets_do_not_see_each_other():
    torch.manual_seed(0)
    net = PatchTST(13, 4, target_dim=3, **SMALL).eval()
    x = torch.randn(2, 13, 3, requires_grad=True)
    net(x)[..., 0].sum().backward()
    assert (x.grad[..., 1:] == 0).all() and (x.grad[..., 0] != 0).any()


def test_scores_are_handed_on():
    torch.manual_seed(0)
    deep = SMALL | {"depth": 2}
    handed = PatchTST(13, 4, **deep).eval()
    apart = PatchTST(13, 4, residual_scores=False, **deep).eval()
    apart.load_state_dict(handed.state_dict())
    x = torch.randn(2, 13, 1)
    assert not torch.allclose(handed(x), apart(x))


def test_the_last_value_observed_takes_the_place_of_the_mean():
    net = PatchTST(13, 4, subtract_last=True, **SMALL).eval()
    x, observed = torch.randn(1, 13, 1), torch.ones(1, 13, 1, dtype=torch.bool)
    observed[:, -2:] = False
    _, loc, _ = net.branches[0].normalize(x, observed)
    assert loc.item() == x[0, 10, 0]


@pytest.mark.parametrize(
    "start",
    [
        positions.small_uniform,
        positions.small_uniform_column,
        positions.normal,
        positions.normal_column,
        positions.uniform_column,
        positions.sinusoidal,
        positions.linear_column,
        positions.root_column,
    ],
)
def test_every_start_of_positions_fits(start):
    torch.manual_seed(0)
    table = start(7, 6)
    assert table.shape in ((7, 6), (7, 1)) and table.isfinite().all()
    assert len(table.unique(dim=0)) == 7, "positions that cannot be told apart"
    assert start(1, 6).isfinite().all()


def test_fixed_positions_are_saved_but_not_trained():
    net = PatchTST(13, 4, position=positions.sinusoidal, learn_position=False, **SMALL)
    table = net.branches[0].embedding.position.table
    assert not table.requires_grad and any("position.table" in name for name in net.state_dict())
    torch.testing.assert_close(table.std(), torch.tensor(0.1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"patch_length": 14}, "do not fit into a look-back of 13"),
        ({"stride": 0}, "do not fit"),
        ({"heads": 3}, "dim 8 is not a multiple of heads 3"),
        ({"kernel": 4}, "kernel 4 must be odd"),
        ({"kernel": 5, "head": Quantiles([0.1, 0.9])}, "one number"),
    ],
)
def test_sizes_that_do_not_fit_are_named(change, said):
    with pytest.raises(ValueError, match=said):
        PatchTST(13, 4, **SMALL | change)
