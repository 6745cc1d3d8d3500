"""Plans of ragged sets: tokens that carry the same group number meet.

A segment is a group, or a window of a point set. Groups are sorted by size into at most four buckets so that little is
padded; the cut is the one of least cost, where a group costs (queries x keys) of its bucket's largest and each bucket
costs a constant. Window numbers come from integer keys and one sort, 40 times faster than unique rows.
"""

__all__ = ["group_plan", "segment_plan", "window_ids"]

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from core.layout import Ragged
from core.partitions.plan import Bucket, IndexPlan, Pairs

_BUCKETS = 4
# What a bucket costs on its own, in query-key pairs.
_BUCKET_COST = 40000.0


def segment_plan(queries: Ragged, keys: Ragged) -> IndexPlan:
    """Every query of a segment meets every key of the same segment.

    The token numbers depend on the offsets alone and are kept for the last few batches, so that all layers of a
    network share them.

    Raises:
        ValueError: where the two sets differ in their number of segments.
    """
    if queries.batch != keys.batch:
        raise ValueError(f"{queries.batch} segments of queries and {keys.batch} of keys; give both the same batch")
    places = queries.coords, keys.coords
    index = _segment_index(tuple(queries.offsets.tolist()), tuple(keys.offsets.tolist()), queries.offsets.device)
    return _with_coordinates(*index, len(queries.tokens), len(keys.tokens), *places, None)


def group_plan(
    query_ids: Tensor,
    key_ids: Tensor,
    query_coords: Tensor,
    key_coords: Tensor,
    origins: Tensor | None = None,
) -> IndexPlan:
    """Queries and keys of the same group number meet; a query without any key gets an empty row.

    Args:
        query_ids: (N,) int64 group numbers.
        key_ids: (M,) likewise.
        query_coords: (N, D) positions.
        key_coords: (M, D) positions.
        origins: (N, D) where the local coordinates of each query's group begin; default: 0.
    """
    count = int(torch.cat([query_ids, key_ids]).max()) + 1 if len(query_ids) + len(key_ids) else 0
    index = _bucketed(
        query_ids.argsort(stable=True),
        key_ids.argsort(stable=True),
        torch.bincount(query_ids, minlength=count),
        torch.bincount(key_ids, minlength=count),
    )
    return _with_coordinates(*index, len(query_ids), len(key_ids), query_coords, key_coords, origins)


def window_ids(
    sets: Sequence[Ragged], window: Sequence[float], shift: Sequence[float] | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """Numbers the windows that point sets occupy: windows of the same segment and place share a number.

    Args:
        sets: point sets with coordinates (N, D), segments in the same order.
        window: size of a window an axis, in the coordinates' unit.
        shift: where a window starts, an axis; 0 by default.

    Returns:
        For each set the numbers (N,), from 0 without gaps over all sets, and the origins (N, D) of the windows.
    """
    keys, origins = [], []
    for x in sets:
        if x.coords is None:
            raise ValueError("windows of a ragged set need coordinates; give Ragged(tokens, offsets, coords)")
        size = torch.as_tensor(window, dtype=torch.float64, device=x.coords.device)
        start = torch.as_tensor(shift or [0.0] * len(window), dtype=torch.float64, device=x.coords.device)
        place = torch.floor((x.coords.double() - start) / size)
        origins.append((place * size + start).to(x.coords.dtype))
        keys.append(torch.cat([x.segment_ids()[:, None], place.long()], dim=1))
    rows = torch.cat(keys)
    if not len(rows):
        return [rows.new_zeros(0) for _ in sets], origins
    low = rows.amin(0)
    number = rows.new_zeros(len(rows))
    for column, span in zip((rows - low).unbind(1), (rows.amax(0) - low + 1).tolist(), strict=True):
        number = number * span + column
    numbers = torch.unique(number, return_inverse=True)[1]
    return list(numbers.split([len(k) for k in keys])), origins


def size_buckets(queries: np.ndarray, keys: np.ndarray) -> list[np.ndarray]:
    """Numbers of the groups in each bucket, of the split into at most four that costs least."""
    order = np.argsort(np.maximum(queries, keys), kind="stable")
    # At most 32 places to cut, evenly over the sorted groups.
    ends = np.unique(np.linspace(0, len(order), 33).round().astype(np.int64))
    steps = len(ends) - 1
    most_q = np.maximum.accumulate(queries[order])
    most_k = np.maximum.accumulate(keys[order])
    last = ends[1:] - 1
    # cost[i, j]: one bucket from cut i to cut j + 1, padded to the largest in it (the last, as they are sorted).
    cost = (ends[None, 1:] - ends[:-1, None]) * (most_q[last] * most_k[last])[None, :] + _BUCKET_COST
    cost = np.where(np.arange(steps)[:, None] <= np.arange(steps)[None, :], cost, np.inf)
    best, cuts = cost[0], [np.zeros(steps, dtype=np.int64)]
    totals = [best]
    for _ in range(_BUCKETS - 1):
        chain = np.concatenate([[np.inf], totals[-1][:-1]])[:, None] + cost
        cuts.append(chain.argmin(0))
        totals.append(chain.min(0))
    used = int(np.argmin([t[-1] for t in totals]))
    borders, place = [steps], steps - 1
    for layer in range(used, 0, -1):
        place = int(cuts[layer][place]) - 1
        borders.append(place + 1)
    borders.append(0)
    return [order[ends[a] : ends[b]] for b, a in pairwise(borders)]


def _bucketed(
    query_order: Tensor, key_order: Tensor, query_counts: Tensor, key_counts: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Slots (G, n) and (G, m) a bucket; tokens come sorted by group, -1 fills up."""
    device = query_order.device
    nq, nk = query_counts.cpu().numpy(), key_counts.cpu().numpy()
    start_q, start_k = np.cumsum(nq) - nq, np.cumsum(nk) - nk
    alive = np.flatnonzero(nq)
    queries, keys = [], []
    for chosen in size_buckets(nq[alive], nk[alive]) if len(alive) else []:
        groups = alive[chosen]
        queries.append(_slots(query_order, start_q[groups], nq[groups], device))
        keys.append(_slots(key_order, start_k[groups], nk[groups], device))
    return queries, keys


def _slots(order: Tensor, starts: np.ndarray, counts: np.ndarray, device: torch.device) -> Tensor:
    place = torch.arange(int(counts.max()), device=device)
    start, count = torch.from_numpy(starts).to(device), torch.from_numpy(counts).to(device)
    if not len(order) or not len(place):
        return torch.full((len(starts), len(place)), -1, device=device, dtype=torch.int64)
    slots = (start[:, None] + place).clamp(max=len(order) - 1)
    return torch.where(place < count[:, None], order[slots], -1)


@lru_cache(maxsize=16)
def _segment_index(
    query_offsets: tuple[int, ...], key_offsets: tuple[int, ...], device: torch.device
) -> tuple[list[Tensor], list[Tensor]]:
    with torch.inference_mode(False):
        return _bucketed(
            torch.arange(query_offsets[-1], device=device),
            torch.arange(key_offsets[-1], device=device),
            torch.tensor(query_offsets).diff(),
            torch.tensor(key_offsets).diff(),
        )


def _with_coordinates(
    queries: list[Tensor],
    keys: list[Tensor],
    query_count: int,
    key_count: int,
    query_coords: Tensor | None,
    key_coords: Tensor | None,
    origins: Tensor | None,
) -> IndexPlan:
    buckets = []
    for q, k in zip(queries, keys, strict=True):
        at_q = _places(query_coords, q, None)
        at_k = _places(key_coords, k, at_q[:, :1])
        origin = 0 if origins is None else _places(origins, q[:, :1], None)
        allowed = (k >= 0)[:, None, :] if bool((k < 0).any()) or not k.shape[1] else None
        buckets.append(Bucket(Pairs(at_q - origin, at_k - origin, at_q, at_k), allowed, None))
    if not buckets:
        rank = 1 if query_coords is None else query_coords.shape[1]
        nowhere = torch.zeros(0, 0, rank, device=None if query_coords is None else query_coords.device)
        empty = torch.zeros(0, 0, dtype=torch.int64, device=nowhere.device)
        queries = keys = [empty]
        buckets = [Bucket(Pairs(nowhere, nowhere, nowhere, nowhere), None, None)]
    return IndexPlan((query_count,), (key_count,), queries, keys, buckets, holes=True)


def _places(coords: Tensor | None, slots: Tensor, first: Tensor | None) -> Tensor:
    """Coordinates (G, n, D) of slots; an empty one stands at the group's first place, within reach of any table."""
    if coords is None:
        return torch.zeros(1, slots.shape[1], 1, device=slots.device)
    if not len(coords):
        return coords.new_zeros(*slots.shape, coords.shape[1]) if first is None else first.expand(*slots.shape, -1)
    places = coords[slots.clamp(min=0)]
    first = places[:, :1] if first is None else first
    return torch.where((slots >= 0)[..., None], places, first.to(places.dtype))
