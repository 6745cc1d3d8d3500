"""HAT: equal to its release, right for any size, the same at inference as in training."""

from pathlib import Path

import pytest
import torch

from apps.vision.superres.models.goldens_hat import HAT_TABLE, ordered_table
from apps.vision.superres.models.hat import HAT, hat, hat_large, hat_small
from apps.vision.superres.models.hat_layers import ConvBranch, HybridBlock
from core.verify import read, verify

GOLDENS = sorted((Path(__file__).parents[4] / "golden" / "hat").glob("*.safetensors"))


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, HAT_TABLE[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_every_class_has_a_golden():
    assert {read(path)[0].cls for path in GOLDENS} == set(HAT_TABLE)


@pytest.mark.parametrize(
    ("make", "counts"),
    [
        (hat_small, (9_473_471, 9_658_111, 9_621_183)),
        (hat, (20_624_795, 20_809_435, 20_772_507)),
        (hat_large, (40_698_863, 40_883_503, 40_846_575)),
    ],
)
def test_number_of_parameters(make, counts):
    with torch.device("meta"):
        assert tuple(sum(p.numel() for p in make(scale).parameters()) for scale in (2, 3, 4)) == counts


@pytest.mark.parametrize(("window", "overlap"), [(4, 1), (16, 4), (5, 1), (3, 0)])
def test_table_of_the_overlapping_windows_in_our_order(window, overlap):
    wide, side = window + 2 * overlap, 2 * (window + overlap) - 1
    released = torch.arange(side**2)
    ours = ordered_table(window, overlap, released)
    for query, key in ((0, 0), (window - 1, wide - 1), (0, wide - 1), (window // 2, 1)):
        # The release's number, on both axes alike, and ours for the same pair; keys count from the window's start here.
        theirs = (key - query + window - wide + 1) * (side + 1)
        delta = query - (key - overlap) + window + overlap - 1
        assert ours[delta * (side + 1)] == released[theirs % side**2]


def small(scale=2, **changes):
    torch.manual_seed(0)
    arguments = {"dim": 12, "depths": (2,), "heads": (2,), "window": 4, "overlap": 1, "squeeze": 4, "drop_path": 0.0}
    return HAT(scale, **arguments | changes).double().eval()


@pytest.mark.parametrize(("scale", "size"), [(2, (1, 1)), (3, (8, 3)), (4, (5, 17))])
def test_any_size_and_each_sample_alone(scale, size):
    network, image = small(scale), torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        y = network(image)
        assert y.shape == (2, 3, scale * size[0], scale * size[1]) and y.isfinite().all()
        torch.testing.assert_close(torch.cat([network(sample[None]) for sample in image]), y)


def test_inference_is_what_training_computes():
    # Heads of 20, which are filled up to 24, and maps of several windows.
    network, image = small(dim=40), torch.rand(1, 3, 12, 8, dtype=torch.float64)
    expected = network(image).detach()
    for _ in range(2):
        with torch.no_grad():
            torch.testing.assert_close(network(image), expected)
    network.train()
    network(image).sum().backward()
    with torch.no_grad():
        torch.testing.assert_close(network(image), expected)
        for parameter in network.parameters():
            parameter.sub_(0.01 * parameter.grad)
    network.eval()
    with torch.no_grad():
        again = network(image)
    torch.testing.assert_close(again, network(image).detach())
    assert not torch.allclose(again, expected)


def test_block_in_one_multiply_add_is_the_sum_of_its_branches():
    torch.manual_seed(0)
    block = HybridBlock(12, 2, 4, 2, squeeze=4, conv_scale=0.3).double()
    x = torch.randn(2, 8, 8, 12, dtype=torch.float64)
    n = block.norm1(x)
    y = x + block.attention(n) + 0.3 * block.conv(n)
    torch.testing.assert_close(block(x), y + block.mlp(block.norm2(y)))


def test_drop_path_leaves_the_convolutions():
    torch.manual_seed(0)
    block = HybridBlock(12, 2, 4, 0, squeeze=4, drop_path=0.999)
    x = torch.randn(1, 4, 4, 12)
    torch.testing.assert_close(block(x), x + 0.01 * block.conv(block.norm1(x)))


def test_a_width_that_squeezes_to_nothing_is_refused():
    with pytest.raises(ValueError, match="hidden width 0"):
        ConvBranch(12, 3, 30)
