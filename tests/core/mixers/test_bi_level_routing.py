import pytest
import torch

from core.mixers import BiLevelRoutingAttention
from core.ops.attend import attend_reference
from core.ops.depthwise import depthwise_reference
from core.testing import Case, check_mixer

DIM, HEADS = 6, 2


def by_definition(mixer, x):
    """Pixel by pixel: who is in which region, and which regions are chosen."""
    height, width = x.shape[1:3]
    sides = [-(-n // mixer.regions) for n in (height, width)]
    across = -(-width // sides[1])
    own = [(a // sides[0]) * across + b // sides[1] for a in range(height) for b in range(width)]
    own = torch.tensor(own)
    count = int(own.max()) + 1
    q, k, v = (p(x).flatten(1, 2) for p in (mixer.q, mixer.k, mixer.v))
    rows = []
    for sample in range(len(x)):
        means = [torch.stack([t[sample, own == r].mean(0) for r in range(count)]) for t in (q, k)]
        chosen = (means[0] @ means[1].T).topk(min(mixer.chosen, count), -1).indices
        seen = torch.stack([torch.isin(own, chosen[r]) for r in own.tolist()])
        heads = (t[sample].unflatten(-1, (HEADS, -1)).transpose(0, 1) for t in (q, k, v))
        rows.append(attend_reference(*heads, mask=seen, scale=mixer.scale).transpose(0, 1).flatten(1))
    y = torch.stack(rows).view_as(x)
    local = depthwise_reference(v.view_as(x), mixer.lepe.weight, mixer.lepe.bias)
    return mixer.out(y + local)


MAPS = [(1, 1), (4, 6), (5, 7)]
CASES = {
    "few": Case(lambda: BiLevelRoutingAttention(DIM, HEADS, regions=2, chosen=1), DIM, MAPS, by_definition),
    "many": Case(lambda: BiLevelRoutingAttention(DIM, HEADS, regions=3, chosen=5), DIM, MAPS, by_definition),
    "narrow": Case(lambda: BiLevelRoutingAttention(DIM, HEADS, regions=2, chosen=2, qk_dim=4), DIM, MAPS),
    "official": Case(lambda: BiLevelRoutingAttention(DIM, HEADS, regions=2, chosen=2, official=True), DIM, MAPS),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_official_lets_what_it_fills_up_attend():
    torch.manual_seed(0)
    ours, theirs = (BiLevelRoutingAttention(DIM, HEADS, regions=2, chosen=3, official=flag) for flag in (False, True))
    torch.nn.init.normal_(ours.v.bias)
    theirs.load_state_dict(ours.state_dict())
    even, odd = torch.randn(1, 4, 6, DIM), torch.randn(1, 5, 6, DIM)
    torch.testing.assert_close(theirs(even), ours(even))
    assert not torch.allclose(theirs(odd), ours(odd), atol=1e-3)


def test_refuses_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="divide both"):
        BiLevelRoutingAttention(6, 2, qk_dim=5)
