"""The self-ensemble against its definition, for square and other images."""

import pytest
import torch
from torch import nn

from apps.vision.superres.ensemble import Ensemble


def network(scale=2):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale)).double()


@pytest.mark.parametrize("shape", [(2, 3, 5, 8), (1, 3, 6, 6), (1, 3, 1, 4)])
def test_the_mean_over_eight_positions(shape):
    net, lr = network(), torch.rand(shape, dtype=torch.float64)
    expected = 0
    for flip in (False, True):
        for turns in range(4):
            x = torch.rot90(lr.flip(3) if flip else lr, turns, (2, 3))
            y = torch.rot90(net(x), -turns, (2, 3))
            expected = expected + (y.flip(3) if flip else y) / 8
    torch.testing.assert_close(Ensemble(net)(lr), expected, rtol=1e-12, atol=1e-14)


def test_it_commutes_with_flips_and_turns_and_does_not_clamp():
    ensemble, lr = Ensemble(network()), torch.rand(1, 3, 4, 7, dtype=torch.float64) * 9 - 4
    whole = ensemble(lr)
    torch.testing.assert_close(ensemble(lr.mT), whole.mT)
    torch.testing.assert_close(ensemble(lr.flip(2)), whole.flip(2))
    assert whole.min() < 0 and whole.max() > 1


def test_two_batches_of_four():
    shapes = []

    def net(x):
        shapes.append(tuple(x.shape))
        return x

    lr = torch.rand(1, 3, 4, 7)
    torch.testing.assert_close(Ensemble(net)(lr), lr)
    assert shapes == [(4, 3, 4, 7), (4, 3, 7, 4)]
