"""All networks take images of any size and aspect, and a sample of a batch gives what it gives alone."""

import pytest
import torch

from apps.vision.superres.models import DRCT, EDSR, HAT, RGT, DLGSANet, DRSformer, ResidualSR, SwinIR

NETWORKS = {
    "HAT": lambda: HAT(4, dim=12, depths=(2,), heads=(2,), window=4, overlap=1, compress=3, squeeze=4),
    "DRCT": lambda: DRCT(2, dim=16, heads=(2,), growth=8, window=4),
    "RGT": lambda: RGT(3, dim=48, depths=(2,), heads=2, window=(2, 8)),
    "DLGSANet": lambda: DLGSANet(4, dim=24, groups=1, blocks=1),
    "SwinIR": lambda: SwinIR(2, dim=12, depths=(2,), heads=(2,), window=4),
    "DRSformer": lambda: DRSformer(dim=8, depths=(1, 1, 1, 1), heads=(1, 1, 2, 2)),
    "EDSR": lambda: EDSR(3, dim=8, depth=1),
    "ResidualSR": lambda: ResidualSR(4, dim=8, depth=1),
}


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (17, 31), (8, 500)])
@pytest.mark.parametrize("name", NETWORKS)
def test_any_size(name, size):
    torch.manual_seed(0)
    net = NETWORKS[name]().eval()
    image = torch.rand(2, 3, *size)
    with torch.no_grad():
        both = net(image)
        alone = net(image[1:])
    scale = getattr(net, "scale", 1)
    assert both.shape == (2, 3, scale * size[0], scale * size[1]) and both.isfinite().all()
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-5)
