"""The nearest points of each point, by brute force over pieces of the distance table.

Shapes: queries (..., M, D), points (..., N, D) -> numbers (..., M, K) of points, nearest first. Ragged: (M, D), (N, D)
with their offsets -> (M, K) rows of the points, -1 where a segment has fewer than K.

Decided: distances come from differences, not from |a|^2 + |b|^2 - 2 a b, which far from the origin loses them. Of
points as far in single precision the lower number is nearer, by one integer key (bits of the distance, number): the
choice is the same on every device and in every batch. With `others` a point is left out by its number and not as the
nearest one, so that of coincident points each meets the other. The numbers have no gradient.
"""

__all__ = ["nearest", "nearest_ragged", "nearest_reference"]

from itertools import pairwise

import torch
from torch import Tensor

# Distances of one piece.
_PIECE = 2**22


def nearest(queries: Tensor, points: Tensor, count: int, *, others: bool = False) -> Tensor:
    """Numbers of the `count` nearest points of each query, or of all where there are fewer.

    Args:
        queries: (..., M, D).
        points: (..., N, D).
        count: K.
        others: query i is point i and not its own neighbour.

    Returns:
        (..., M, K) int64, nearest first.
    """
    queries, points = queries.detach(), points.detach()
    own = torch.arange(points.shape[-2], device=points.device)
    count = min(count, len(own) - others)
    if count < 1:
        return own.new_zeros(*queries.shape[:-1], 0)
    size = max(1, _PIECE // max(points[..., 0].numel(), 1))
    found = []
    for start in range(0, max(queries.shape[-2], 1), size):
        piece = queries[..., start : start + size, :]
        distance = torch.cdist(piece, points, compute_mode="donot_use_mm_for_euclid_dist").float()
        # Numbers that are not negative have the order of their bits.
        key = distance.view(torch.int32).long() * 2**32 + own
        if others:
            rows = torch.arange(start, start + piece.shape[-2], device=own.device)
            key = key.masked_fill(rows[:, None] == own, torch.iinfo(torch.int64).max)
        found.append(key.topk(count, largest=False).values % 2**32)
    return torch.cat(found, -2)


def nearest_reference(queries: Tensor, points: Tensor, count: int, *, others: bool = False) -> Tensor:
    """The same by one stable sort of all distances."""
    distance = (queries[..., :, None, :] - points[..., None, :, :]).square().sum(-1).sqrt().float()
    if others:
        distance.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
    return distance.argsort(dim=-1, stable=True)[..., : min(count, points.shape[-2] - others)]


def nearest_ragged(
    queries: Tensor, points: Tensor, query_offsets: Tensor, offsets: Tensor, count: int, *, others: bool = False
) -> Tensor:
    """The nearest points in each query's own segment: (M, K) rows of the points, -1 where there is none.

    Args:
        queries: (M, D).
        points: (N, D).
        query_offsets: (B + 1,) where the queries of each segment start.
        offsets: (B + 1,) the same of the points.
        count: K.
        others: query i is point i and not its own neighbour.
    """
    rows = torch.full((len(queries), count), -1, dtype=torch.int64, device=points.device)
    for (a, b), (c, d) in zip(pairwise(query_offsets.tolist()), pairwise(offsets.tolist()), strict=True):
        numbers = nearest(queries[a:b], points[c:d], count, others=others)
        rows[a:b, : numbers.shape[1]] = numbers + c
    return rows
