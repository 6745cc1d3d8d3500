import pytest
import torch

from core.mixers import GlobalLocalFilter
from core.testing import Case, check_mixer


def filter_by_definition(mixer, x):
    """The circular convolution with the kernel that the filter is the spectrum of, place by place."""
    height, width = x.shape[1:3]
    normed = mixer.norm(x)
    half = x.shape[-1] // 2
    full = torch.view_as_complex(mixer.filter).movedim(0, -1)
    kernel = torch.fft.irfft2(full, s=(height, width), dim=(0, 1))
    far = torch.zeros_like(normed[..., half:])
    for a in range(height):
        for b in range(width):
            far = far + kernel[a, b] * normed[..., half:].roll((a, b), (1, 2))
    near = mixer.local(normed[..., :half])
    return mixer.norm_after(torch.stack([near, far], -1).flatten(-2))


# The filter of any other size is resized, which is no circular convolution.
CASES = {
    "own size": Case(lambda: GlobalLocalFilter(4, (4, 3)), 4, [(4, 5), (4, 4)], filter_by_definition, variance=None),
    "other sizes": Case(lambda: GlobalLocalFilter(4, (4, 3)), 4, [(1, 1), (3, 7)], variance=None),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_filter_refuses_what_it_cannot_halve():
    with pytest.raises(ValueError, match="even"):
        GlobalLocalFilter(3)
    with pytest.raises(ValueError, match="give maps"):
        GlobalLocalFilter(4)(torch.zeros(1, 4, 4))
