import pytest
import torch

from core.partitions import Whole
from core.positions.dynamic_bias import DynamicBias


def test_is_the_network_of_each_difference():
    torch.manual_seed(0)
    bias = DynamicBias(3, 4).double()
    pairs = Whole().plan((2, 3)).buckets[0].pairs
    delta = (pairs.queries[:, :, None] - pairs.keys[:, None]).double()
    x = bias.enter(delta)
    for norm, layer in zip(bias.norms, bias.layers, strict=True):
        x = layer(torch.relu(norm(x)))
    torch.testing.assert_close(bias(pairs), x.movedim(-1, 1))


def test_reads_steps_and_so_any_size():
    bias = DynamicBias(2, 4)
    large, small = (bias(Whole().plan(grid).buckets[0].pairs) for grid in ((4, 5), (4, 3)))
    large = large.unflatten(-1, (4, 5)).unflatten(2, (4, 5))[:, :, :, :3, :, :3]
    torch.testing.assert_close(large.flatten(2, 3).flatten(3), small)


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="give 2 or more"):
        DynamicBias(2, 1)
    with pytest.raises(ValueError, match="rank of the grids"):
        DynamicBias(2, 4)(Whole().plan((5,)).buckets[0].pairs)
