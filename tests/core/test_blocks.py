import pytest
import torch
from torch import nn

from core.blocks import Block, DropPath, PostNorm, PreNorm, SandwichNorm, Stack, blocks
from core.channels import MLP
from core.layout import Ragged
from core.mixers import Attention, LinearAttention, Pooling, TokenMLP
from core.mixers.base import Mixer, auxiliary_loss
from core.norms import RMSNorm
from core.positions import Rotary

DIM = 8


def channel(dim):
    return MLP(dim, 2 * dim)


def test_place_of_the_norm():
    torch.manual_seed(0)
    x, inner = torch.randn(2, 5, DIM), nn.Linear(DIM, DIM)
    for residual, expected in [
        (PreNorm(DIM, inner), lambda r: x + inner(r.norm(x))),
        (PostNorm(DIM, inner), lambda r: r.norm(x + inner(x))),
        (SandwichNorm(DIM, inner), lambda r: x + r.norm_after(inner(r.norm(x)))),
        (PreNorm(DIM, inner, layer_scale=1e-3), lambda r: x + 1e-3 * inner(r.norm(x))),
    ]:
        for norm in (getattr(residual, name, None) for name in ("norm", "norm_after")):
            if norm is not None:
                nn.init.normal_(norm.weight)
        torch.testing.assert_close(residual(x), expected(residual))


def test_block_is_mixer_then_channel():
    block = Block(DIM, Attention(DIM, 2), channel(DIM), norm=RMSNorm)
    x = torch.randn(2, 3, 4, DIM)
    y = x + block.mix.inner(block.mix.norm(x))
    torch.testing.assert_close(block(x), y + block.feed.inner(block.feed.norm(y)))
    only = Block(DIM, Pooling(DIM))
    torch.testing.assert_close(only(x), x + only.mix.inner(only.mix.norm(x)))


def test_mask_and_context_reach_the_mixer():
    torch.manual_seed(0)
    stack = Stack(blocks(DIM, 2, lambda d: Attention(d, 2), channel), nn.LayerNorm(DIM))
    x, mask = torch.randn(1, 5, DIM), torch.tensor([[True, True, True, False, False]])
    context = torch.randn(1, 4, DIM)
    torch.testing.assert_close(stack(x, mask=mask)[:, :3], stack(x[:, :3]))
    real = torch.tensor([[True, False, False, False]])
    torch.testing.assert_close(stack(x, context=context, context_mask=real), stack(x, context=context[:, :1]))


def test_a_mask_a_mixer_does_not_take_is_a_type_error():
    block = Block(DIM, TokenMLP(DIM, (5,), 3))
    with pytest.raises(TypeError, match="mask"):
        block(torch.randn(1, 5, DIM), mask=torch.ones(1, 5, dtype=torch.bool))


def test_channel_mixer_with_a_mask_gets_it():
    class Masked(nn.Module):
        def forward(self, x, mask=None):
            return torch.zeros_like(x) if mask is None else mask[..., None] * torch.ones_like(x)

    block = Block(DIM, Pooling(DIM, (3,)), Masked())
    x, mask = torch.randn(1, 3, DIM), torch.tensor([[True, True, False]])
    y = block(x, mask=mask) - block.mix(x, mask=mask)
    assert y[0, :, 0].round().tolist() == [1, 1, 0]


def test_stack_of_ragged_sets_is_a_loop():
    torch.manual_seed(0)
    stack = Stack(blocks(DIM, 2, lambda d: Attention(d, 2), channel, layer_scale=0.5), nn.LayerNorm(DIM))
    segments = [torch.randn(n, DIM) for n in (3, 0, 4)]
    y = stack(Ragged.of(segments))
    torch.testing.assert_close(y.tokens, torch.cat([stack(s[None])[0] for s in segments if len(s)]))


@pytest.mark.parametrize(
    "make", [lambda d: LinearAttention(d, 2, causal=True), lambda d: Attention(d, 2, causal=True, rotary=Rotary())]
)
@pytest.mark.parametrize("residual", [PreNorm, PostNorm, SandwichNorm])
def test_steps_of_a_stack_are_one_pass(make, residual):
    torch.manual_seed(0)
    stack = Stack(blocks(DIM, 3, make, channel, residual=residual, layer_scale=0.3), nn.LayerNorm(DIM)).double().eval()
    x = torch.randn(2, 6, DIM, dtype=torch.float64)
    state, outputs = stack.initial_state(2, dtype=torch.float64), []
    for x_t in x.unbind(1):
        y_t, state = stack.step(x_t, state)
        outputs.append(y_t)
    torch.testing.assert_close(torch.stack(outputs, 1), stack(x))


def test_drop_path_leaves_out_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    drop = DropPath(0.4)
    y = drop(torch.ones(4000, 2, 3))
    kept = y[:, 0, 0] != 0
    assert torch.equal(y, kept[:, None, None] / 0.6 * torch.ones_like(y))
    assert abs(kept.float().mean() - 0.6) < 0.03
    sets = drop(Ragged.of([torch.ones(3, 2)] * 200))
    rows = sets.tokens.view(200, 3, 2)
    assert torch.equal(rows, rows[:, :1, :1].expand_as(rows))
    assert 80 < (rows[:, 0, 0] != 0).sum() < 160
    drop.eval()
    assert torch.equal(drop(y), y)
    with pytest.raises(ValueError, match="give one in"):
        DropPath(1.0)


def test_drop_path_rises_over_the_blocks():
    made = blocks(DIM, 5, lambda d: Pooling(d), drop_path=0.4)
    assert [round(b.mix.drop_path.share, 6) for b in made] == [0, 0.1, 0.2, 0.3, 0.4]
    assert [b.mix.drop_path.share for b in blocks(DIM, 2, lambda d: Pooling(d), drop_path=[0.1, 0.3])] == [0.1, 0.3]
    first, second = blocks(DIM, 2, lambda d: Attention(d, 2))
    assert not torch.equal(first.mix.inner.q.weight, second.mix.inner.q.weight)


def test_auxiliary_losses_are_summed():
    class Costs(Mixer):
        def __init__(self, cost):
            super().__init__()
            self.aux = None if cost is None else torch.tensor(cost, requires_grad=True)

    model = nn.Sequential(Costs(1.0), Costs(None), nn.Sequential(Costs(2.5)))
    assert auxiliary_loss(model).item() == 3.5
    assert auxiliary_loss(model).requires_grad
    assert auxiliary_loss(nn.Linear(1, 1)).item() == 0


def test_rms_norm():
    norm = RMSNorm(DIM).double()
    nn.init.normal_(norm.weight)
    x = torch.randn(3, DIM, dtype=torch.float64)
    expected = torch.nn.functional.rms_norm(x, (DIM,), norm.weight, 1e-6)
    torch.testing.assert_close(norm(x), expected)
    big = torch.full((1, DIM), 3e4, dtype=torch.float16)
    assert RMSNorm(DIM).half()(big).isfinite().all()
