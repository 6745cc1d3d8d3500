import pytest
import torch

from core.mixers import SpatialGating
from core.testing import Case, check_mixer

DIM, HIDDEN = 4, 6


def by_definition(mixer, x):
    """The gate of each channel by itself."""
    hidden = torch.nn.functional.gelu(mixer.enter(x.flatten(1, -2)))
    kept, gate = hidden[..., :HIDDEN], mixer.norm(hidden[..., HIDDEN:])
    gate = torch.stack([mixer.spatial(gate[..., c]) for c in range(HIDDEN)], -1)
    return mixer.leave(kept * gate).view_as(x)


CASES = {
    "map": Case(lambda: SpatialGating(DIM, (3, 4), HIDDEN), DIM, [(3, 4)], by_definition),
    "sequence": Case(lambda: SpatialGating(DIM, (5,), HIDDEN), DIM, [(5,)], by_definition),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_gate_is_open_at_first():
    mixer = SpatialGating(DIM, (5,), HIDDEN)
    x = torch.randn(2, 5, DIM)
    kept = torch.nn.functional.gelu(mixer.enter(x))[..., :HIDDEN]
    torch.testing.assert_close(mixer(x), mixer.leave(kept), rtol=1e-2, atol=1e-2)


def test_another_map_is_refused():
    with pytest.raises(ValueError, match="weights belong to places"):
        SpatialGating(DIM, (5,), HIDDEN)(torch.randn(1, 6, DIM))
