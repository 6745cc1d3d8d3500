"""Isomer: samples of unequal sides together, one-sided samples, any size."""

import pytest
import torch

from apps.vision.backbones.mit import MiT
from apps.vision.segmentation.models.isomer import GatherScatter, Isomer


def test_samples_together_are_each_alone_and_one_sided_ones_stay():
    torch.manual_seed(0)
    part = GatherScatter(8, 2, 12, 3, depth=2).double().eval()
    x, y = torch.randn(2, 3, 4, 5, 8, dtype=torch.float64)
    joined = part.join(torch.cat([x, y], -1))
    with torch.no_grad():
        part.heat.bias -= part.heat(joined[1]).median()
        x[0] += 100 * torch.linalg.pinv(part.join.weight[:, :8]) @ part.heat.weight[0]  # all of it foreground
    joined = part.join(torch.cat([x, y], -1))
    sides = (part.heat(joined) >= 0).flatten(1).float().mean(1)
    assert sides[0] == 1 and 0 < sides[1] < 1
    together = part(x, y)
    for n in range(3):
        torch.testing.assert_close(together[n], part(x[n : n + 1], y[n : n + 1])[0])
    torch.testing.assert_close(together[0], joined[0])
    assert not torch.allclose(together[1], joined[1])


@pytest.mark.parametrize("size", [(1, 1), (33, 50)])
def test_any_size_and_every_weight_learns(size):
    torch.manual_seed(0)

    def backbone():
        return MiT((8, 8, 16, 16), (1, 1, 1, 1), (1, 1, 2, 2), drop_path=0.0)

    net = Isomer(backbone(), backbone(), 8, (4, 3)).train(size != (1, 1))
    made = net(torch.randn(2, 3, *size), torch.randn(2, 3, *size)).main
    assert made.shape == (2, 1, *size)
    if size != (1, 1):
        made.square().mean().backward()
        assert all(p.grad is not None for p in net.parameters())


def test_backbones_of_other_widths():
    with pytest.raises(ValueError, match="alike"):
        Isomer(MiT((8, 8, 16, 16), (1, 1, 1, 1), (1, 1, 2, 2)), MiT((8, 8, 16, 32), (1, 1, 1, 1), (1, 1, 2, 2)))
