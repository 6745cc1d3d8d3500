import pytest
import torch
from torch.nn import functional as F

from core.mixers import StripeAttention
from core.testing import Case, check_mixer

DIM, HEADS = 8, 4


def by_definition(mixer, x):
    """Stripe by stripe, cut out of the map."""
    height, width = x.shape[1:3]
    outputs = []
    qkv = mixer.qkv(x).chunk(3, -1)
    for number, branch in enumerate(mixer.branches):
        high, wide = (size or n for size, n in zip(branch.partition.window, (height, width), strict=True))
        q, k, v = (t.chunk(len(mixer.branches), -1)[number] for t in qkv)
        y = torch.zeros_like(q)
        for top in range(0, height, high):
            for left in range(0, width, wide):
                place = (slice(None), slice(top, top + high), slice(left, left + wide))
                own = [t[place].flatten(1, 2).unflatten(-1, (branch.heads, -1)).transpose(1, 2) for t in (q, k, v)]
                weights = (own[0] @ own[1].mT * own[0].shape[-1] ** -0.5).softmax(-1)
                attended = (weights @ own[2]).transpose(1, 2).flatten(2).view_as(v[place])
                lepe = branch.lepe
                local = F.conv2d(v[place].movedim(-1, 1), lepe.weight, lepe.bias, padding=1, groups=v.shape[-1])
                y[place] = attended + local.movedim(1, -1)
        outputs.append(y)
    return mixer.out(torch.cat(outputs, -1))


MAPS = [(1, 1), (3, 4), (5, 7)]
CASES = {
    "stripes": Case(lambda: StripeAttention(DIM, HEADS, 2), DIM, MAPS, by_definition),
    "lines": Case(lambda: StripeAttention(DIM, 2, 1, bias=False), DIM, MAPS, by_definition),
    "whole": Case(lambda: StripeAttention(DIM, HEADS, None), DIM, MAPS, by_definition),
    "official": Case(lambda: StripeAttention(DIM, HEADS, 3, official=True), DIM, [(3, 6), (4, 7)], without=["mask"]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_properties(case):
    check_mixer(*case)


def test_release_fills_up_on_both_sides():
    """With 4 of 6 columns, one column of zeros stands at either end, and each of them takes its share."""
    torch.manual_seed(0)
    ours, theirs = (StripeAttention(DIM, 2, 3, official=official).double() for official in (False, True))
    theirs.load_state_dict(ours.state_dict())
    even, odd = torch.randn(1, 6, 6, DIM).double(), torch.randn(1, 3, 4, DIM).double()
    torch.testing.assert_close(theirs(even), ours(even))
    wide = F.pad(theirs.qkv(odd).unflatten(-1, (3, -1)), (0, 0, 0, 0, 1, 1))[..., : DIM // 2]
    upright = ours.branches[0](wide)[:, :, 1:5]
    lying = ours.branches[1](theirs.qkv(odd).unflatten(-1, (3, -1))[..., DIM // 2 :])
    torch.testing.assert_close(theirs(odd), theirs.out(torch.cat([upright, lying], -1)))


def test_what_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="2 directions"):
        StripeAttention(DIM, 1, 2)
