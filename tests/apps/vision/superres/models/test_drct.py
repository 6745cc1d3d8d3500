"""DRCT: equal to its release, right for any size."""

from pathlib import Path

import pytest
import torch

from apps.vision.superres.models.drct import DRCT, DenseGroup, drct, drct_large
from apps.vision.superres.models.goldens_drct import DRCT_TABLE
from core.verify import read, verify

GOLDENS = sorted((Path(__file__).parents[4] / "golden" / "drct").glob("*.safetensors"))


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, DRCT_TABLE[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_there_are_goldens():
    assert len(GOLDENS) == 6


@pytest.mark.parametrize(
    ("make", "counts"),
    [(drct, (13_991_867, 14_176_507, 14_139_579)), (drct_large, (27_433_007, 27_617_647, 27_580_719))],
)
def test_number_of_parameters(make, counts):
    with torch.device("meta"):
        assert tuple(sum(p.numel() for p in make(scale).parameters()) for scale in (2, 3, 4)) == counts


@pytest.mark.parametrize(("scale", "size"), [(2, (1, 1)), (3, (8, 3)), (4, (5, 17))])
def test_any_size_and_each_sample_alone(scale, size):
    torch.manual_seed(0)
    network = DRCT(scale, dim=12, heads=(3,), window=4, growth=4).double().eval()
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        y = network(image)
        assert y.shape == (2, 3, scale * size[0], scale * size[1]) and y.isfinite().all()
        torch.testing.assert_close(torch.cat([network(sample[None]) for sample in image]), y)
    torch.testing.assert_close(network(image).detach(), y)


def test_numbers_of_heads_follow_the_release():
    with torch.device("meta"):
        group = DenseGroup(180, 6, 16)
    assert [block.mix.inner.groups.heads for block in group.blocks] == [6, 4, 2, 6, 4]


def test_heads_that_do_not_divide_are_refused_at_once():
    with pytest.raises(ValueError, match="a block of width 38 gets 4 heads"):
        DenseGroup(18, 6, 4, growth=5)


def test_drop_path_of_a_group_is_the_first_of_its_six():
    network = DRCT(2, dim=12, heads=(3, 3), window=4, growth=4, drop_path=0.11)
    shares = [{block.mix.drop_path.share for block in group.blocks} for group in network.body.groups]
    assert [len(s) for s in shares] == [1, 1]
    torch.testing.assert_close(torch.tensor([s.pop() for s in shares]), torch.tensor([0.0, 0.06]))
