"""Every partition: its views equal its index form, its groups are what a loop over coordinates says."""

import pickle

import pytest
import torch

from core.layout import coordinates
from core.ops.groups import attend_groups, attend_groups_reference
from core.partitions import (
    Axis,
    BoxPlan,
    Chunks,
    IndexPlan,
    Overlapping,
    Spread,
    Strided,
    Whole,
    Windows,
    boxes,
)

CASES = [
    (Whole(), (5,)),
    (Whole(), (2, 3, 2)),
    (Windows((4,)), (1,)),
    (Windows((3, 4), (1, 2)), (7, 9)),
    (Windows((3, 4), (1, 2)), (6, 8)),
    (Windows((3, 4), (1, 2)), (2, 9)),
    (Windows((8, 8), (4, 4)), (3, 5)),
    (Windows((4,), (3,), shift_single=True), (2,)),
    (Windows((None, 2)), (5, 5)),
    (Windows((2, 2, 3), (1, 1, 1)), (3, 4, 5)),
    (Axis(-1), (3, 4, 5)),
    (Axis(0), (3, 4)),
    (Strided((2, 2), (2, 2)), (4, 8)),
    (Strided((2, 2), (2, 3)), (5, 7)),
    (Strided((2,), (3,)), (1,)),
    (Spread((2, 2)), (6, 4)),
    (Spread((2, 2)), (5, 7)),
    (Spread((4,)), (2,)),
    (Chunks(5), (4, 4)),
    (Overlapping((2, 3), (1, 1), (1, 2)), (7, 7)),
    (Overlapping((4,), (4,), (0,)), (10,)),
]


def index_form(partition, grid):
    plan = partition.plan(grid)
    return plan if isinstance(plan, IndexPlan) else plan.as_index()


def pairs_of(plan):
    """Which query token meets which key token, (N, M), of an index plan."""
    count = [torch.Size(grid).numel() for grid in (plan.query_grid, plan.key_grid)]
    meet = torch.zeros(count, dtype=torch.bool)
    for queries, keys, bucket in zip(plan.queries, plan.keys, plan.buckets, strict=True):
        allowed = torch.ones(1, 1, 1, dtype=torch.bool) if bucket.allowed is None else bucket.allowed
        allowed = allowed.expand(len(queries), queries.shape[1], keys.shape[1])
        meet[queries[:, :, None].expand_as(allowed)[allowed], keys[:, None].expand_as(allowed)[allowed]] = True
    return meet


@pytest.mark.parametrize("partition, grid", CASES, ids=str)
def test_split_and_join_are_inverse(partition, grid):
    x = torch.randn(2, *grid, 3, 2)
    plan = partition.plan(grid)
    for form in (plan, index_form(partition, grid)):
        assert torch.equal(form.join(form.split_queries(x)), x)


@pytest.mark.parametrize("partition, grid", CASES, ids=str)
def test_views_equal_the_index_form(partition, grid):
    if isinstance(partition, Chunks):
        run = torch.arange(16) // 5
        assert torch.equal(pairs_of(index_form(partition, grid)), run[:, None] == run)
        return
    reference = partition.fitted(len(grid)).build_index(grid, grid, torch.device("cpu"))
    assert torch.equal(pairs_of(index_form(partition, grid)), pairs_of(reference))


@pytest.mark.parametrize("partition, grid", CASES, ids=str)
def test_attention_in_groups_equals_a_loop_with_gradients(partition, grid):
    torch.manual_seed(0)
    plan, index = partition.plan(grid), index_form(partition, grid)
    x = torch.randn(2, *grid, 2, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, *grid) > 0.4
    mask[0] = False
    biases = [
        torch.randn(1, 2, b.pairs.queries.shape[1], b.pairs.keys.shape[1], dtype=torch.float64) for b in plan.buckets
    ]
    slow = attend_groups_reference(x, x, x, index, biases=biases, mask=mask)
    probe = torch.randn_like(slow)
    expected = torch.autograd.grad((slow * probe).sum(), x)[0]
    for form in (plan, index):
        fast = attend_groups(x, x, x, form, biases=biases, mask=mask)
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)
        gradient = torch.autograd.grad((fast * probe).sum(), x)[0]
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("partition, grid", CASES, ids=str)
def test_coordinates_belong_to_the_slots(partition, grid):
    """Local differences are map differences in the partition's unit; map coordinates are those of the tokens."""
    index = index_form(partition, grid)
    places = coordinates(grid).flatten(0, -2)
    unit = torch.ones(len(grid))
    if isinstance(partition, Strided):
        unit = torch.tensor(partition.interval, dtype=torch.float32)
    if isinstance(partition, Spread):
        unit = torch.tensor([-(-n // s) for n, s in zip(grid, partition.slots, strict=True)], dtype=torch.float32)
    for queries, keys, bucket in zip(index.queries, index.keys, index.buckets, strict=True):
        pairs = bucket.pairs
        assert pairs.extent == grid
        assert torch.equal(pairs.map_queries, places[queries])
        assert torch.equal(pairs.map_keys, places[keys])
        if not isinstance(partition, Chunks):
            delta = pairs.queries[:, :, None] - pairs.keys[:, None]
            on_map = pairs.map_queries[:, :, None] - pairs.map_keys[:, None]
            if bucket.allowed is None:
                meet = torch.ones(on_map.shape[:-1], dtype=torch.bool)
            else:
                meet = bucket.allowed.expand(on_map.shape[:-1])
            torch.testing.assert_close(on_map[meet], (delta * unit).expand_as(on_map)[meet])


@pytest.mark.parametrize("size, window, shift", [((8, 12), 4, 2), ((6, 9), 3, 1), ((4, 8), 4, 2)])
def test_shifted_windows_are_roll_and_region_mask(size, window, shift):
    """The published construction: roll the map, cut windows, forbid pairs from different regions, roll back."""
    shifts = [0 if n <= window else shift for n in size]
    region = torch.zeros(size)
    number = 0
    for rows in (slice(0, -window), slice(-window, -shifts[0] or None), slice(-shifts[0], None) if shifts[0] else None):
        for columns in (
            slice(0, -window),
            slice(-window, -shifts[1] or None),
            slice(-shifts[1], None) if shifts[1] else None,
        ):
            if rows is not None and columns is not None:
                region[rows, columns] = number
            number += 1
    numbers = torch.arange(size[0] * size[1]).view(size).roll([-s for s in shifts], (0, 1))
    expected = torch.zeros(size[0] * size[1], size[0] * size[1], dtype=torch.bool)
    for top in range(0, size[0], window):
        for left in range(0, size[1], window):
            cell = slice(top, top + window), slice(left, left + window)
            own, side = numbers[cell].flatten(), region[cell].flatten()
            expected[own[:, None], own] = side[:, None] == side
    assert torch.equal(pairs_of(index_form(Windows((window, window), (shift, shift)), size)), expected)


def test_window_larger_than_the_map_is_one_window_without_shift():
    assert pairs_of(index_form(Windows((8, 8), (4, 4)), (3, 5))).all()
    alone = pairs_of(index_form(Windows((4,), (3,), shift_single=True), (4,)))
    assert alone.sum() == 9 + 1 and alone[:3, :3].all() and alone[3, 3]


@pytest.mark.parametrize("size", [8, 9, 10, 11, 13])
@pytest.mark.parametrize("shift", [1, 2, 3])
@pytest.mark.parametrize("limit", [0, 2**20])
def test_seams_with_one_mask_and_apart_give_the_same_pairs(monkeypatch, size, shift, limit):
    monkeypatch.setattr(boxes, "_MASK", limit)
    window = Windows((4, 4), (shift, 1))
    plan = window.build((size, 8), (size, 8), torch.device("cpu"))
    reference = window.build_index((size, 8), (size, 8), torch.device("cpu"))
    assert torch.equal(pairs_of(plan.as_index()), pairs_of(reference))
    if not limit:
        assert all(b.allowed is None or len(b.allowed) == 1 for b in plan.buckets)
    x = torch.randn(2, size, 8, 1, 2, dtype=torch.float64)
    torch.testing.assert_close(attend_groups(x, x, x, plan), attend_groups(x, x, x, reference))


@pytest.mark.parametrize("grids", [((8, 8), (4, 4)), ((4, 6), (9, 5)), ((3, 3), (1, 7))])
def test_windows_of_two_grids_meet_by_key_centre(grids):
    own, other = grids
    window = Windows((3, 2), (1, 1))
    plan = window.plan(own, other)
    q, k = coordinates(own).flatten(0, -2), coordinates(other, frame=own).flatten(0, -2)
    shift = torch.tensor([0.0 if n <= w else 1.0 for n, w in zip(own, (3, 2), strict=True)])
    size = torch.tensor([3.0, 2.0])
    same = (((q - shift + 0.5) / size).floor()[:, None] == ((k - shift + 0.5) / size).floor()[None]).all(-1)
    x, y = torch.randn(2, *own, 2, 3, dtype=torch.float64), torch.randn(2, *other, 2, 3, dtype=torch.float64)
    scores = torch.einsum("bnhd,bmhd->bhnm", x.flatten(1, 2), y.flatten(1, 2)) * 3**-0.5
    weights = scores.masked_fill(~same, -1e30).softmax(-1) * same.any(-1, keepdim=True)
    expected = torch.einsum("bhnm,bmhd->bnhd", weights, y.flatten(1, 2)).unflatten(1, own)
    torch.testing.assert_close(attend_groups(x, y, y, plan), expected)


def test_whole_pairs_a_map_with_a_sequence():
    plan = Whole().plan((3, 4), (5,))
    x, y = torch.randn(2, 3, 4, 2, 3), torch.randn(2, 5, 2, 3)
    mask = torch.rand(2, 5) > 0.3
    expected = attend_groups_reference(x, y, y, plan, mask=mask)
    torch.testing.assert_close(attend_groups(x, y, y, plan, mask=mask), expected)


def test_terms_of_single_groups_with_and_without_a_batch():
    plan = Windows((2, 2)).plan((4, 4))
    for batch in (1, 3):
        x = torch.randn(batch, 4, 4, 2, 3, dtype=torch.float64)
        biases = [torch.randn(4, 2, 4, 4, dtype=torch.float64)]
        mask = torch.rand(batch, 4, 4) > 0.3
        for real in (None, mask):
            fast = attend_groups(x, x, x, plan, biases=biases, mask=real)
            slow = attend_groups_reference(x, x, x, plan.as_index(), biases=biases, mask=real)
            torch.testing.assert_close(fast, slow)


def test_tokens_in_several_groups_or_none_are_averaged():
    index = torch.tensor([[0, 1], [1, 2]])
    once = Whole().plan((4,)).buckets[0]
    plan = IndexPlan((4,), (4,), [index], [index], [once], once=False)
    x = torch.randn(2, 4, 3)
    parts = plan.split_queries(x)
    y = plan.join([torch.cat([parts[0][:, :1], parts[0][:, 1:] + 2], dim=1)])
    torch.testing.assert_close(y[:, 0], x[:, 0])
    torch.testing.assert_close(y[:, 1], x[:, 1] + 1)
    torch.testing.assert_close(y[:, 2], x[:, 2] + 2)
    assert not y[:, 3].any()


def test_plans_are_shared_and_serve_training_after_inference_mode():
    grid = (5, 11)
    with torch.inference_mode():
        first = Overlapping((2, 2), (1, 1), (1, 1)).plan(grid)
        first.buckets[0].pairs.derived("key", lambda pairs: pairs.queries * 2)
    assert Overlapping((2, 2), (1, 1), (1, 1)).plan(grid) is first
    assert not first.buckets[0].pairs.derived("key", lambda pairs: pairs.queries * 3).is_inference()
    x = torch.randn(1, *grid, 1, 2, requires_grad=True)
    attend_groups(x, x, x, first).sum().backward()
    assert pickle.loads(pickle.dumps(Windows((3,)))) == Windows((3,))


def flat(value):
    return value if torch.is_tensor(value) else torch.cat(value)


def test_views_keep_an_index_of_tokens_but_none_of_pairs():
    plan = Windows((4, 4), (2, 2)).plan((32, 32))
    assert isinstance(plan, BoxPlan)
    held = [v for v in vars(plan).values() if torch.is_tensor(v) or (isinstance(v, list) and torch.is_tensor(v[0]))]
    assert len(plan.buckets) == 1 and plan.buckets[0].allowed is not None
    assert held and sum(flat(v).numel() for v in held) <= 5 * 32 * 32


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "grid, window, shift", [((7,), (3,), (1,)), ((8, 8), (4, 4), (2, 2)), ((9, 5), (4, 2), (1, 0))]
)
def test_order_is_the_split_as_one_permutation(monkeypatch, batch, grid, window, shift):
    monkeypatch.setattr(boxes, "_MASK", 0)
    plan = Windows(window, shift).build(grid, grid, torch.device("cpu"))
    assert len(plan.buckets) > 1
    x = torch.arange(batch * plan.grid_size).view(batch, *grid)
    rows, back = plan.order(batch)
    in_order = x.flatten()[rows]
    assert torch.equal(in_order, torch.cat([part.flatten() for part in plan.split_queries(x)]))
    assert torch.equal(in_order[back], x.flatten())


@pytest.mark.parametrize(
    "partition, message",
    [
        (Windows((2,)), "one window size a grid axis"),
        (Axis(2), "give one from -2 to 1"),
        (Strided((2,), (2,)), "one number a grid axis"),
        (Spread((2,)), "one number a grid axis"),
        (Overlapping((2,), (1,), (1,)), "one number a grid axis"),
    ],
)
def test_wrong_rank_is_named(partition, message):
    with pytest.raises(ValueError, match=message):
        partition.plan((4, 4))


@pytest.mark.parametrize(
    "partition", [Axis(0), Strided((2,), (2,)), Spread((2,)), Chunks(2), Overlapping((2,), (1,), (1,))]
)
def test_partitions_of_one_grid_refuse_two(partition):
    with pytest.raises(ValueError, match="use Whole or Windows"):
        partition.plan((4,), (5,))


def test_wrong_shift_is_named():
    with pytest.raises(ValueError, match="0 <= shift < window"):
        Windows((4, 4), (4, 0))
    with pytest.raises(ValueError, match="one number an axis"):
        Windows((4, 4), (1,))


@pytest.mark.parametrize("partition", [Windows((2, 3), (1, 1)), Overlapping((2, 2), (1, 1), (1, 1), beyond=True)])
def test_plans_are_made_while_a_graph_is_traced(partition):
    def split(x):
        return partition.build((5, 6), (5, 6), x.device).split_keys(x)

    x = torch.randn(2, 5, 6, 3)
    for traced, eager in zip(torch.compile(split, backend="eager", fullgraph=True)(x), split(x), strict=True):
        assert torch.equal(traced, eager)


def test_keys_beyond_the_map_are_empty_slots_with_their_own_coordinates():
    plan = Overlapping((2, 2), (1, 1), (1, 1), beyond=True).build((4, 4), (4, 4), torch.device("cpu"))
    (bucket,) = plan.buckets
    (keys,) = plan.split_keys(torch.ones(1, 4, 4, 1))
    assert keys.shape == (1, 4, 16, 1) and bucket.allowed is None
    places = bucket.pairs.map_keys
    inside = ((places >= 0) & (places < 4)).all(-1)
    assert torch.equal(keys[0, ..., 0] == 1, inside)
    assert bucket.pairs.keys[0, 0].tolist() == [-1, -1]
