import pytest
import torch
from torch.nn import functional as F

from core.mixers import BidirectionalMamba, Mamba
from core.ops.selective_scan import selective_scan_reference
from core.testing import Case, check_mixer

DIM = 6


def by_definition(mixer, x):
    """The convolution as a sum over its taps, the recurrence token by token."""
    x, gate = mixer.enter(x.flatten(1, -2)).chunk(2, -1)
    taps = mixer.conv.weight[:, 0]
    size = taps.shape[1]
    padded = F.pad(x, (0, 0, size - 1, 0))
    x = sum(padded[:, t : t + x.shape[1]] * taps[:, t] for t in range(size))
    x = F.silu(x if mixer.conv.bias is None else x + mixer.conv.bias)
    rank, b, c = mixer.select(x).split([mixer.rank, mixer.state, mixer.state], -1)
    y, _ = selective_scan_reference(x, F.softplus(mixer.dt(rank)), -mixer.log_rate.exp(), b, c)
    return mixer.out((y + mixer.skip * x) * F.silu(gate))


def both_ways(mixer, x):
    return by_definition(mixer.forwards, x) + by_definition(mixer.backwards, x.flip(1)).flip(1)


# As published, the weights at the start make small outputs: the residual stream carries the tokens.
CASES = {
    "whole": Case(
        lambda: Mamba(DIM, 4), DIM, [(1,), (2,), (9,)], by_definition, isolates_nan=True, variance=(0.005, 5.0)
    ),
    "long, of other widths": Case(
        lambda: Mamba(DIM, 3, kernel=3, expand=1, rank=2, bias=True, conv_bias=False),
        DIM,
        [(40,)],
        by_definition,
        variance=(0.005, 5.0),
    ),
    "both ways": Case(lambda: BidirectionalMamba(DIM, 4), DIM, [(1,), (2,), (9,)], both_ways, variance=(0.005, 5.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


@pytest.mark.parametrize("kind", [Mamba, BidirectionalMamba])
def test_padding_in_between_is_taken_out(kind):
    torch.manual_seed(0)
    mixer, x = kind(DIM, 4), torch.randn(2, 3, 3, DIM)
    mask = torch.rand(2, 3, 3) > 0.4
    y = mixer(x, mask=mask)
    for sample in range(2):
        alone = mixer(x[sample][mask[sample]][None])[0]
        torch.testing.assert_close(y[sample][mask[sample]], alone)


def test_steps_start_between_a_thousandth_and_a_tenth():
    steps = F.softplus(Mamba(64).dt.bias)
    assert 1e-3 * 0.99 < steps.min() < 2e-3
    assert 0.05 < steps.max() < 0.1 * 1.01
