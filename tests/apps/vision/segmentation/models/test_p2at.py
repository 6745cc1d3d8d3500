"""P2AT: sizes, any image, and what is decided differently."""

import pytest
import torch
from torch.nn import functional as F
from torchvision.models import resnet18

from apps.vision.segmentation.models import P2AT, p2at_large, p2at_medium, p2at_small
from apps.vision.segmentation.models.p2at import LocalRefinement, PooledPyramid


@pytest.mark.parametrize(
    ("make", "bare", "helped"),
    [(p2at_small, 12.735, 12.811), (p2at_medium, 22.844, 22.919), (p2at_large, 25.276, 25.352)],
)
def test_published_sizes(make, bare, helped):
    """Without the release's weights that can have no effect: kernels over a map of one pixel, but for their centres."""
    with torch.device("meta"):
        net = make(11)
    unused = 2 * 64 * 64 * ((9 - 1) + (49 - 1))
    whole = sum(p.numel() for p in net.parameters()) + unused
    assert round(whole / 1e6, 3) == helped
    assert round((whole - sum(p.numel() for p in net.helpers.parameters())) / 1e6, 3) == bare


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 32)])
def test_any_size(size):
    torch.manual_seed(0)
    net = P2AT(4, resnet18).eval()
    assert net(torch.randn(1, 3, *size)).main.shape == (1, 4, *size)


def test_helpers_are_for_training():
    torch.manual_seed(0)
    net, x = P2AT(4, resnet18).train(), torch.randn(2, 3, 40, 40)
    made = net(x)
    assert [y.shape for y in made.others] == [(2, 4, 40, 40)] * 2
    sum(y.sum() for y in (made.main, *made.others)).backward()
    assert all(p.grad is not None for p in net.parameters())
    assert net.eval()(x).others == ()


def test_every_group_sees_one_channel_of_each_mean():
    torch.manual_seed(0)
    pyramid = PooledPyramid(3).double().eval()
    x = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    c = pyramid.enter(x)
    means = [F.avg_pool2d(c, 3, 1, 1)]
    for kernel in (5, 7):
        means.append(F.avg_pool2d(means[-1], kernel, 1, kernel // 2))
    weight = pyramid.conv.conv.weight
    groups = [F.conv2d(torch.stack([mean[:, n] for mean in means], 1), weight[n : n + 1], padding=1) for n in range(3)]
    expected = pyramid.conv.act(pyramid.conv.norm(torch.cat(groups, 1))) * c
    torch.testing.assert_close(pyramid(x), expected)


def test_the_far_path_at_one_pixel_is_that_at_all():
    torch.manual_seed(0)
    part = LocalRefinement(5, 4).double().eval()
    x = torch.randn(2, 5, 6, 7, dtype=torch.float64)
    a = part.enter(x)
    far = part.far(a.mean((2, 3), keepdim=True).expand_as(a))
    torch.testing.assert_close(part(x), part.out(far + part.near(a).sigmoid()))
