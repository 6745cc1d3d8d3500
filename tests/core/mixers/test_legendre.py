import pytest
import torch

from core.mixers import LegendreMemory
from core.ops.legendre import legendre_memory_reference, legendre_system
from core.testing import Case, check_mixer

DIM = 4


def by_definition(mixer, x):
    u = torch.relu(mixer.signal(x))[..., 0]
    m = legendre_memory_reference(u, *legendre_system(mixer.order, mixer.theta))
    return torch.relu(mixer.out(torch.cat([m, x], -1)))


CASES = {
    "as published": Case(lambda: LegendreMemory(DIM, theta=20.0), DIM, [(1,), (7,), (40,)], by_definition),
    "other widths": Case(lambda: LegendreMemory(DIM, 3, order=6, theta=5.0), DIM, [(1,), (9,)], by_definition),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])
