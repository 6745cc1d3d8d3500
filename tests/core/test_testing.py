"""The property tests can fail: for each property a mixer that breaks it, and breaks it alone."""

import copy

import pytest
import torch
from torch import Tensor, nn

from core.layout import Ragged, zero_padding
from core.mixers import Attention, DepthwiseConv, LinearAttention
from core.mixers.base import Mixer
from core.testing import Case, check_compile, check_mixer, find_mixers

DIM = 4


class Good(Mixer):
    """A causal running mean: everything the contract has, in a few lines."""

    causal = True

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(DIM))

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        x = zero_padding(x, mask)
        tokens = x.flatten(1, -2)
        real = torch.ones_like(tokens[..., 0]) if mask is None else mask.flatten(1).to(x.dtype)
        mean = tokens.cumsum(1) / real.cumsum(1).clamp(min=1)[..., None]
        return zero_padding(mean.view_as(x) * self.weight, mask)

    def initial_state(self, batch, device=None, dtype=None):
        return torch.zeros(batch, DIM, device=device, dtype=dtype), torch.zeros(batch, device=device, dtype=dtype)

    def step(self, x_t, state):
        total, count = state[0] + x_t, state[1] + 1
        return total / count[:, None] * self.weight, (total, count)

    def extend(self, x, state):
        total = state[0][:, None] + x.cumsum(1)
        count = state[1][:, None] + torch.arange(1, x.shape[1] + 1)
        return total / count[..., None] * self.weight, (total[:, -1], count[:, -1])


class LeaksPadding(Good):
    def forward(self, x, *, mask: Tensor | None = None):
        y = super().forward(x, mask=mask)
        return y if mask is None else y + zero_padding(x.mean() * torch.ones_like(x) * 1e-3, mask)


class CountsPadding(Good):
    def forward(self, x, *, mask: Tensor | None = None):
        x = zero_padding(x, mask)
        tokens = x.flatten(1, -2)
        mean = tokens.flip(1).cumsum(1).flip(1) / tokens.shape[1]
        return zero_padding(mean.view_as(x) * self.weight, mask)


class FillsPadding(Good):
    def forward(self, x, *, mask: Tensor | None = None):
        return super().forward(zero_padding(x, mask)) if mask is None else super().forward(x, mask=mask) + 1e-6


class MixesSamples(Good):
    def forward(self, x, *, mask: Tensor | None = None):
        y = super().forward(x, mask=mask)
        return y + zero_padding(1e-4 * y.mean(0, keepdim=True).expand_as(y), mask)


class LooksAhead(Good):
    def forward(self, x, *, mask: Tensor | None = None):
        x = zero_padding(x, mask)
        return super().forward(x, mask=mask) + zero_padding(1e-6 * torch.cat([x[:, 1:], 0 * x[:, :1]], 1), mask)


class TouchesTheFuture(Good):
    """Equal values for any finite input, but a gradient in later tokens."""

    def forward(self, x, *, mask: Tensor | None = None):
        x = zero_padding(x, mask)
        ahead = x.roll(-1, 1)
        return super().forward(x, mask=mask) + zero_padding(ahead - ahead.detach(), mask)


class SpreadsNan(Good):
    def forward(self, x, *, mask: Tensor | None = None):
        x = zero_padding(x, mask)
        return super().forward(x, mask=mask) + zero_padding((0 * x).sum((1, 2), keepdim=True).expand_as(x), mask)


class StepsWrongly(Good):
    def step(self, x_t, state):
        y, state = super().step(x_t, state)
        return y, (state[0], state[1] + 1e-6)


class ExtendsFromNothing(Good):
    def extend(self, x, state):
        return super().extend(x, tuple(torch.zeros_like(s) for s in state))


class OrdersState(Good):
    """Keeps its state in reversed batch order: consistent with itself, but not with who reorders it."""

    def step(self, x_t, state):
        y, (total, count) = super().step(x_t, (state[0].flip(0), state[1]))
        return y, (total.flip(0), count)

    def extend(self, x, state):
        y, (total, count) = super().extend(x, (state[0].flip(0), state[1]))
        return y, (total.flip(0), count)


class ReadsMemoryOrder(Good):
    def forward(self, x, *, mask: Tensor | None = None):
        return super().forward(x, mask=mask) * (1.0 if x.is_contiguous() else 1.0001)


class KeepsTable(Good):
    def __init__(self):
        super().__init__()
        self.register_buffer("rows", torch.arange(3))


class CachesInStateDict(Good):
    def forward(self, x, *, mask: Tensor | None = None):
        self.register_buffer("last", x.detach().new_zeros(x.shape[1]))
        return super().forward(x, mask=mask)


class CannotBeCopied(Good):
    def __deepcopy__(self, memo):
        other = type(self)()
        other.weight = nn.Parameter(copy.deepcopy(self.weight.detach()) + 1e-3)
        return other.double()


class Explodes(Good):
    def forward(self, x, *, mask: Tensor | None = None):
        return super().forward(x, mask=mask) * 100


class WrongGradient(Good):
    def forward(self, x, *, mask: Tensor | None = None):
        y = super().forward(x, mask=mask)
        return y + 0.1 * (y - y.detach())


class RoughInHalf(Good):
    def forward(self, x, *, mask: Tensor | None = None):
        y = super().forward(x, mask=mask)
        return y * (1.1 if torch.is_autocast_enabled("cpu") else 1.0)


class Swallows(Good):
    def forward(self, x, *, mask: Tensor | None = None, **kwargs):
        return super().forward(x, mask=mask)


class MaskFirst(Good):
    def forward(self, x, mask: Tensor | None = None):
        return super().forward(x, mask=mask)


class BreaksOnOne(Good):
    def forward(self, x, *, mask: Tensor | None = None):
        return super().forward(x, mask=mask) / (x.shape[1] - 1)


class MixesSegments(Mixer):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(DIM))

    def forward(self, x: Tensor | Ragged):
        if isinstance(x, Ragged):
            return x.with_tokens(x.tokens * self.weight + x.tokens.mean())
        return x * self.weight


def test_a_good_mixer_passes():
    check_mixer(Good, DIM, reference=lambda mixer, x: by_definition(x) * mixer.weight, isolates_nan=True)


def by_definition(x):
    tokens = x.flatten(1, -2)
    return torch.stack([tokens[:, : t + 1].mean(1) for t in range(tokens.shape[1])], 1).view_as(x)


@pytest.mark.parametrize(
    "mixer, named",
    [
        (LeaksPadding, "padding|batch"),
        (CountsPadding, "appended padding"),
        (FillsPadding, "padding"),
        (MixesSamples, "batch"),
        (LooksAhead, "prefix"),
        (TouchesTheFuture, "gradients|jacobian"),
        (SpreadsNan, "nan"),
        (StepsWrongly, "step"),
        (ExtendsFromNothing, "extend"),
        (OrdersState, "reorder"),
        (ReadsMemoryOrder, "strided"),
        (KeepsTable, "caches"),
        (CachesInStateDict, "caches|copies"),
        (CannotBeCopied, "copies"),
        (Explodes, "variance"),
        (WrongGradient, "gradients"),
        (RoughInHalf, "autocast"),
        (Swallows, "signature"),
        (MaskFirst, "signature"),
        (BreaksOnOne, "reference"),
        (MixesSegments, "ragged"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_wrong_mixer_fails(mixer, named):
    with pytest.raises(AssertionError, match=f"^{mixer.__name__}: ({named}):"):
        check_mixer(mixer, DIM, isolates_nan=True)


def test_a_wrong_value_fails_against_the_reference():
    with pytest.raises(AssertionError, match="Good: reference: value on"):
        check_mixer(Good, DIM, reference=lambda mixer, x: by_definition(x) + 1e-6)
    with pytest.raises(AssertionError, match="Good: reference: gradient on"):
        check_mixer(Good, DIM, reference=lambda mixer, x: by_definition(x) * mixer.weight.detach())


def test_jacobian_alone_tells_a_hidden_gradient():
    from core.testing import order

    with pytest.raises(AssertionError, match="gradient in later tokens"):
        order.jacobian(Case(TouchesTheFuture, DIM))


@pytest.mark.parametrize(
    "make", [lambda: Attention(DIM, 2), lambda: LinearAttention(DIM, 2), lambda: DepthwiseConv(DIM, (3,))]
)
def test_what_is_not_causal_fails_causality(make):
    from core.testing import order

    for check in (order.prefix, order.jacobian):
        with pytest.raises(AssertionError):
            check(Case(make, DIM))


def test_a_rule_that_is_not_kept_fails():
    with pytest.raises(AssertionError, match="mask is ruled out but raises no ValueError"):
        check_mixer(Good, DIM, without=("mask",))


class Breaks(Good):
    def forward(self, x, *, mask: Tensor | None = None):
        return super().forward(x, mask=mask) * (2.0 if float(x.sum()) > 1e9 else 1.0)


def test_a_graph_break_fails():
    with pytest.raises(AssertionError, match="Breaks: compile"):
        check_compile(Case(Breaks, DIM, grids=[(3,)]), "eager")


def test_find_mixers_walks_a_package():
    import core.mixers

    found = find_mixers(core.mixers)
    assert Attention in found
    assert Mixer not in found
    assert len(found) == len(set(found))
