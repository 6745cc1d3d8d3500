import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from core.layout import Ragged, coordinates
from core.ops.depthwise import depthwise_reference
from core.partitions import Overlapping, Pairs, Whole, Windows
from core.positions import LearnedPosition, LePE, LogMLPBias, RelativeTable, Rotary, RotaryInterleaved, Sinusoid


def pairs(*grid):
    return Whole().plan(grid).buckets[0].pairs


def test_sinusoid_is_the_formula():
    table = Sinusoid(12)(torch.zeros(1, 5, 3, 12))[0]
    for i, j in [(0, 0), (4, 2)]:
        for axis, place in enumerate((i, j)):
            for n in range(3):
                angle = place / 10000 ** (n / 3)
                got = table[i, j, 6 * axis + 2 * n : 6 * axis + 2 * n + 2]
                torch.testing.assert_close(got, torch.tensor([math.sin(angle), math.cos(angle)]))


def test_sinusoid_of_ragged_sets_and_of_one_step():
    x = torch.zeros(1, 4, 3, 8)
    position = Sinusoid(8)
    sets = Ragged.of([x[0].flatten(0, 1)], [coordinates((4, 3)).flatten(0, 1)])
    torch.testing.assert_close(position(sets).tokens, position(x)[0].flatten(0, 1))
    torch.testing.assert_close(position.at(torch.tensor([[3.0, 1.0]]))[0], position(x)[0, 3, 1])
    with pytest.raises(ValueError, match="without coordinates"):
        position(Ragged.of([torch.zeros(2, 8)]))
    with pytest.raises(ValueError, match="give a multiple of 6"):
        position(torch.zeros(1, 1, 1, 1, 8))


def test_learned_table_resizes_bicubically():
    position = LearnedPosition(4, (5, 7))
    assert torch.equal(position(torch.zeros(2, 5, 7, 4))[1], position.table)
    expected = F.interpolate(position.table.permute(2, 0, 1)[None], (9, 3), mode="bicubic").permute(0, 2, 3, 1)
    torch.testing.assert_close(position(torch.zeros(1, 9, 3, 4)), expected)
    assert LearnedPosition(4, (3,))(torch.zeros(1, 8, 4)).shape == (1, 8, 4)
    assert LearnedPosition(4, (3, 2, 2))(torch.zeros(1, 4, 1, 5, 4)).shape == (1, 4, 1, 5, 4)
    with pytest.raises(ValueError, match="a table of its rank"):
        position(torch.zeros(1, 5, 4))


def test_relative_table_reads_one_row_a_difference():
    bias = RelativeTable(2, (3, 4))
    values = bias(pairs(3, 4))
    assert values.shape == (1, 2, 12, 12)
    for q in range(12):
        for k in range(12):
            row = (q // 4 - k // 4 + 2) * 7 + (q % 4 - k % 4 + 3)
            assert torch.equal(values[0, :, q, k], bias.table[row])


def test_relative_table_serves_partial_and_overlapping_windows():
    bias = RelativeTable(1, (4, 4))
    for partition in (Windows((4, 4), (2, 2)), Overlapping((2, 2), (1, 1), (1, 1))):
        for bucket in partition.plan((5, 7)).buckets:
            delta = bucket.pairs.map_queries[:, :, None] - bucket.pairs.map_keys[:, None]
            meet = torch.ones(delta.shape[:-1], dtype=torch.bool)
            if bucket.allowed is not None:
                meet = bucket.allowed.expand(meet.shape)
            rows = ((delta[..., 0] + 3) * 7 + delta[..., 1] + 3).long()[meet]
            assert torch.equal(bias(bucket.pairs)[:, 0].expand(meet.shape)[meet], bias.table[rows, 0])


def test_row_numbers_are_kept_with_the_plan_and_not_in_the_state():
    bias, other = RelativeTable(1, (3, 3)), RelativeTable(2, (3, 3))
    own = pairs(3, 3)
    own._derived.clear()
    bias(own)
    other(own)
    assert len(own._derived) == 1
    assert list(bias.state_dict()) == ["table"]
    assert not list(bias.buffers())
    with torch.no_grad():
        bias.table.fill_(2)
    assert (bias(own) == 2).all()


def test_relative_table_resizes():
    bias = RelativeTable(2, (3, 3))
    other = bias.resized((5, 4))
    box = bias.table.view(5, 5, 2).permute(2, 0, 1)[None]
    expected = F.interpolate(box, (9, 7), mode="bicubic")[0].permute(1, 2, 0).reshape(-1, 2)
    torch.testing.assert_close(other.table, expected)
    assert torch.equal(bias.resized((3, 3)).table, bias.table)


def test_relative_table_says_what_it_cannot():
    bias = RelativeTable(1, (3,))
    with pytest.raises(ValueError, match="reach over"):
        bias(pairs(4))
    with pytest.raises(ValueError, match="one window size a grid axis"):
        bias(pairs(2, 2))
    half = torch.tensor([[[0.0], [0.5]]])
    with pytest.raises(ValueError, match="fractions of a step"):
        bias(Pairs(half, half, half, half))


def test_log_bias_is_the_formula():
    torch.manual_seed(0)
    bias = LogMLPBias(2, (4, 3), hidden=5)
    own = pairs(4, 3)
    delta = own.queries[0, :, None] - own.keys[0, None]
    scaled = delta / torch.tensor([3.0, 2.0]) * 8
    scaled = scaled.sign() * (scaled.abs() + 1).log2() / math.log2(8)
    expected = 16 * torch.sigmoid(bias.out(F.relu(bias.hidden(scaled)))).permute(2, 0, 1)
    torch.testing.assert_close(bias(own)[0], expected)
    assert bias(pairs(9, 1)).shape == (1, 2, 9, 9)
    with pytest.raises(ValueError, match="one window size a grid axis"):
        bias(pairs(4))


def test_log_bias_of_two_grids():
    bias = LogMLPBias(2, (4,))
    own = Whole().plan((6,), (3,)).buckets[0].pairs
    assert own.keys.flatten().tolist() == [0.5, 2.5, 4.5]
    assert bias(own).shape == (1, 2, 6, 3)


@pytest.mark.parametrize("rotary", [Rotary, RotaryInterleaved])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_rotary_scores_depend_on_differences_alone(rotary, rank):
    torch.manual_seed(0)
    turn = rotary(rank)
    q, k = torch.randn(1, 1, 12, dtype=torch.float64), torch.randn(1, 1, 12, dtype=torch.float64)
    a, b, shift = (torch.randn(rank, dtype=torch.float64) * 5 for _ in range(3))
    near = (turn(q, a) * turn(k, b)).sum()
    far = (turn(q, a + shift) * turn(k, b + shift)).sum()
    torch.testing.assert_close(near, far)
    torch.testing.assert_close(turn(q, a).norm(), q.norm())
    torch.testing.assert_close(turn(q, torch.zeros(rank)), q)
    assert not torch.allclose((turn(q, a) * turn(k, b + shift)).sum(), near)


def test_rotary_conventions():
    x, place = torch.randn(1, 1, 6), torch.tensor([2.0])
    angle = torch.tensor([2 / 10000 ** (i / 3) for i in range(3)])
    a, b = x[..., :3], x[..., 3:]
    halves = torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)
    torch.testing.assert_close(Rotary()(x, place), halves)
    a, b = x[..., ::2], x[..., 1::2]
    pairs_of = torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1).flatten(-2)
    torch.testing.assert_close(RotaryInterleaved()(x, place), pairs_of)


def test_rotary_says_what_it_cannot():
    with pytest.raises(ValueError, match="a head width that 4 divides"):
        Rotary(2)(torch.zeros(1, 1, 6), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="coordinates of rank 1"):
        Rotary()(torch.zeros(1, 1, 6), torch.zeros(1, 2))


@pytest.mark.parametrize("kernel, grid", [((3,), (5,)), ((3, 5), (4, 7)), ((3, 1, 3), (2, 3, 4))])
def test_lepe_is_a_depthwise_convolution(kernel, grid):
    branch = LePE(4, kernel).double()
    v = torch.randn(2, *grid, 4, dtype=torch.float64)
    torch.testing.assert_close(branch(v), depthwise_reference(v, branch.weight, branch.bias))
    mask = torch.rand(2, *grid) > 0.5
    garbage = v.masked_fill(~mask[..., None], torch.nan)
    torch.testing.assert_close(branch(garbage, mask), branch(v * mask[..., None]))


def test_lepe_inside_groups():
    """CSWin's form: zero padding at the borders of each window, by calling the branch on the parts of a plan."""
    branch = LePE(4)
    v = torch.randn(1, 4, 6, 4)
    plan = Windows((4, 3)).plan((4, 6))
    (part,) = plan.split_queries(v)
    (bucket,) = plan.buckets
    inside = branch(part.flatten(0, 1).unflatten(1, bucket.shape)).flatten(1, 2).unflatten(0, (1, -1))
    expected = torch.cat([branch(v[:, :, :3]), branch(v[:, :, 3:])], 2)
    torch.testing.assert_close(plan.join([inside]), expected)


def test_positions_train():
    for module, run in [
        (RelativeTable(2, (3, 3)), lambda m: m(pairs(3, 3))),
        (LogMLPBias(2, (3, 3)), lambda m: m(pairs(3, 3))),
        (LearnedPosition(4, (3, 3)), lambda m: m(torch.zeros(1, 5, 2, 4))),
        (LePE(4), lambda m: m(torch.randn(1, 3, 3, 4))),
    ]:
        run(module).square().sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in module.parameters()), type(module).__name__
        assert isinstance(module, nn.Module)
