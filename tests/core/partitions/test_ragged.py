import numpy as np
import pytest
import torch

from core.layout import Ragged
from core.ops import groups as module
from core.ops.groups import attend_groups, attend_groups_reference, attend_ragged, attend_ragged_reference
from core.partitions import group_plan, segment_plan, window_ids
from core.partitions.ragged import size_buckets


def points(lengths, seed=0, extent=9.0):
    generator = torch.Generator().manual_seed(seed)
    return Ragged.of(
        [torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in lengths],
        [torch.rand(n, 2, generator=generator, dtype=torch.float64) * extent for n in lengths],
    )


def heads(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, 3, generator=generator, dtype=torch.float64).requires_grad_()


LENGTHS = [
    [5],
    [0, 3, 1, 7, 2, 0, 30, 31],
    [0, 0],
    [1, 1, 1],
    list(range(1, 60, 2)),
]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("long", [True, False])
def test_ragged_attention_is_a_loop_over_segments(monkeypatch, lengths, causal, long):
    monkeypatch.setattr(module, "_long", lambda queries, keys: long)
    x = points(lengths)
    q, k, v = (heads(sum(lengths), seed) for seed in range(3))
    fast = attend_ragged(q, k, v, x, x, causal=causal)
    slow = attend_ragged_reference(q, k, v, x, x, causal=causal)
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)
    if sum(lengths):
        probe = torch.randn_like(slow)
        ours = torch.autograd.grad((fast * probe).sum(), [q, k, v])
        theirs = torch.autograd.grad((slow * probe).sum(), [q, k, v])
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_ragged_cross_attention(causal):
    x, y = points([3, 0, 4, 2]), points([6, 2, 0, 9], seed=1)
    q, k = heads(9), heads(17, 1)
    expected = attend_ragged_reference(q, k, k, x, y, causal=causal)
    torch.testing.assert_close(attend_ragged(q, k, k, x, y, causal=causal), expected)
    with pytest.raises(ValueError, match="both the same batch"):
        attend_ragged(q, heads(6), heads(6), x, points([6]))


def test_nan_in_one_segment_stays_there():
    x = points([2, 5, 1])
    q = heads(8).detach()
    q[0] = torch.nan
    y = attend_ragged(q, q, q, x, x)
    assert y[:2].isnan().any()
    assert y[2:].isfinite().all()


def test_bias_reads_the_coordinates_of_each_segment():
    x = points([4, 9, 2])
    q = heads(15)

    def bias(bucket):
        distance = (bucket.pairs.map_queries[:, :, None] - bucket.pairs.map_keys[:, None]).square().sum(-1)
        return -distance[:, None].expand(-1, 2, -1, -1)

    fast = attend_ragged(q, q, q, x, x, bias=bias)
    for (a, b), segment in zip([(0, 4), (4, 13), (13, 15)], x.segments(), strict=True):
        delta = (segment.coords[:, None] - segment.coords[None]).square().sum(-1)
        scores = torch.einsum("nhd,mhd->hnm", q[a:b], q[a:b]) * 3**-0.5 - delta
        torch.testing.assert_close(fast[a:b], torch.einsum("hnm,mhd->nhd", scores.softmax(-1), q[a:b]))


@pytest.mark.parametrize("shift", [None, (1.5, 0.5)])
def test_windows_of_a_point_set(shift):
    x = points([40, 0, 1, 25])
    (ids,), (origins,) = window_ids([x], (3.0, 2.0), shift)
    start = torch.tensor(shift or (0.0, 0.0), dtype=torch.float64)
    size = torch.tensor([3.0, 2.0], dtype=torch.float64)
    cell = torch.cat([x.segment_ids()[:, None], ((x.coords - start) / size).floor().long()], 1)
    assert torch.equal(ids[:, None] == ids[None], (cell[:, None] == cell[None]).all(-1))
    assert sorted(set(ids.tolist())) == list(range(int(ids.max()) + 1))
    assert ((x.coords - origins >= 0) & (x.coords - origins < size)).all()

    plan = group_plan(ids, ids, x.coords, x.coords, origins)
    assert sorted(i for slots in plan.queries for i in slots.flatten().tolist() if i >= 0) == list(range(66))
    q = heads(66)
    fast = attend_groups(q[None], q[None], q[None], plan)
    torch.testing.assert_close(fast, attend_groups_reference(q[None], q[None], q[None], plan))
    for slots, bucket in zip(plan.queries, plan.buckets, strict=True):
        real = slots >= 0
        assert torch.equal(bucket.pairs.map_queries[real], x.coords[slots[real]])
        torch.testing.assert_close(bucket.pairs.queries[real], (x.coords - origins)[slots[real]])


def test_windows_of_two_point_sets():
    x, y = points([30, 5]), points([20, 40], seed=1)
    (own, other), (origins, _) = window_ids([x, y], (3.0, 3.0))
    plan = group_plan(own, other, x.coords, y.coords, origins)
    q, k = heads(35), heads(60, 1)
    meet = own[:, None] == other[None]
    scores = torch.einsum("nhd,mhd->hnm", q, k) * 3**-0.5
    weights = scores.masked_fill(~meet, -1e30).softmax(-1) * meet.any(-1, keepdim=True)
    expected = torch.einsum("hnm,mhd->nhd", weights, k)
    torch.testing.assert_close(attend_groups(q[None], k[None], k[None], plan)[0], expected)


def test_windows_need_coordinates():
    with pytest.raises(ValueError, match="need coordinates"):
        window_ids([Ragged.of([torch.zeros(2, 1)])], (1.0,))


@pytest.mark.parametrize("lengths", [[1], [7] * 50, list(range(1, 200)), [1] * 500 + [300] * 3])
def test_buckets_hold_every_group_once_and_never_cost_more_than_one(lengths):
    n = np.array(lengths)
    buckets = size_buckets(n, n)
    assert len(buckets) <= 4
    assert sorted(np.concatenate(buckets).tolist()) == list(range(len(n)))
    cost = sum(len(b) * n[b].max() ** 2 for b in buckets)
    assert cost <= len(n) * n.max() ** 2
    if lengths[0] == 1 and len(lengths) > 1:
        assert cost < 0.6 * len(n) * n.max() ** 2


def test_index_of_a_batch_is_kept_for_all_layers():
    x = points([3, 4])
    first, second = segment_plan(x, x), segment_plan(x, x)
    assert all(a is b for a, b in zip(first.queries, second.queries, strict=True))
