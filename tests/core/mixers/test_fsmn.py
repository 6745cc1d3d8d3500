import pytest
import torch
from torch.nn import functional as F

from core.mixers import DilatedMemory, GatedMemory, PlainMemory
from core.ops.depthwise import depthwise_reference
from core.testing import Case, check_mixer

DIM = 6


def plain(mixer, x):
    p = mixer.leave(torch.relu(mixer.enter(x)))
    return x + p + depthwise_reference(p, mixer.conv)


def dilated(mixer, x):
    """Grouped convolutions of (B, C, T), every output stacked in front of those before."""
    seen = mixer.leave(torch.relu(mixer.enter(x))).mT
    for number, kernel in enumerate(mixer.convs):
        grouped = kernel[:, 0].unflatten(0, (-1, number + 1))
        reach = 2**number * (kernel.shape[-1] // 2)
        y = F.conv1d(seen, grouped, padding=reach, dilation=2**number, groups=len(grouped))
        y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        y = y * mixer.weights[number][:, None] + mixer.biases[number][:, None]
        y = torch.where(y > 0, y, mixer.slopes[number][:, None] * y)
        seen = torch.cat([y, seen], 1)
    return x + y.mT


def gated(mixer, x):
    y = mixer.norm(F.prelu(mixer.enter(x), mixer.slope))
    return mixer.leave(mixer.last_norm(mixer.to_gate(y) * dilated(mixer.memory, mixer.to_memory(y)) + y))


GRIDS = [(1,), (2,), (9,)]
CASES = {
    "plain": Case(lambda: PlainMemory(DIM, hidden=5, order=3), DIM, GRIDS, plain),
    "dilated": Case(lambda: DilatedMemory(DIM, hidden=5, order=3), DIM, GRIDS, dilated),
    "three convolutions": Case(lambda: DilatedMemory(DIM, order=2, depth=3), DIM, GRIDS, dilated),
    "gated": Case(lambda: GatedMemory(DIM, inner=4, order=3, kernel=5), DIM, GRIDS, gated),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_dropout_is_for_training():
    torch.manual_seed(0)
    mixer, x = GatedMemory(DIM, inner=4, dropout=0.5), torch.randn(1, 12, DIM)
    assert not torch.allclose(mixer(x), mixer(x))
    mixer.eval()
    torch.testing.assert_close(mixer(x), mixer(x))
