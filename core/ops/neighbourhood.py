"""Neighbourhood attention (NAT, Hassani et al. 2023; dilated: DiNAT, Hassani & Shi 2022) on grids of rank 1 to 3.

On an axis of length L with kernel K and dilation d, query i sees the K keys of its own residue class (i mod d) that are
nearest to it; at borders the K keys move inwards instead of being cut off:

    r = i mod d,  l = i div d,  n = ceil((L - r) / d),  start = clamp(l - K div 2, 0, n - K)
    keys j = (start + 0..K-1) d + r
    y_i = softmax_j(scale q_i k_j^T + table[(j - i) / d + K - 1]) v_j

Shapes: q, k, v (B, *grid, heads, d), table ((2 K - 1) * ..., heads) or None -> (B, *grid, heads, d).

Decided: queries go in tiles of T an axis, whose keys all lie in one block of T + K - 1; what lies outside of a query's
own neighbourhood gets -inf. Against a gather of K^2 keys a query this reads and keeps (T / S)^2 K^2 times less. A class
with fewer than K keys (a map below K d) is seen whole, where the release fills the map up with zeros that count.
"""

__all__ = ["TilePlan", "neighbourhood_attention", "neighbourhood_reference", "tile_bias", "tile_plan"]

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from core.ops.attend import attend

# Queries of a tile, an axis, by the rank of the grid (measured at rank 2).
_TILE = {1: 64, 2: 8, 3: 4}


class Tiles(NamedTuple):
    """Tiles of one shape.

    Attributes:
        queries: (G, n) raster numbers of the tokens; a tile at the border repeats its last ones.
        keys: (G, m) likewise.
        rows: (C, n, m) rows of the table, its length where the pair may not meet; C kinds of tiles.
        kinds: (G,) the kind of each tile.
    """

    queries: Tensor
    keys: Tensor
    rows: Tensor
    kinds: Tensor


class TilePlan(NamedTuple):
    """All tiles of a map, and the slot of each token in their queries put one behind the other."""

    tiles: tuple[Tiles, ...]
    slots: Tensor


class _Axis(NamedTuple):
    """The sub-maps of one length on one axis: (classes, tiles, T) queries, (classes, tiles, S) keys, what is between
    them (kinds, T, S), -1 where nothing, and (tiles,) kinds."""

    queries: Tensor
    keys: Tensor
    steps: Tensor
    kinds: Tensor


def neighbourhood_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kernel: Sequence[int],
    dilation: Sequence[int],
    *,
    bias: Sequence[Tensor] | None = None,
    scale: float | None = None,
) -> Tensor:
    """Neighbourhood attention in tiles.

    Args:
        q, k, v: heads of the tokens.
        kernel: keys an axis.
        dilation: distance of two keys, an axis.
        bias: what `tile_bias` gives for this map; without a table by default.
        scale: factor of the scores, d ** -0.5 by default.
    """
    grid = q.shape[1:-2]
    plan = tile_plan(tuple(grid), tuple(kernel), tuple(dilation), q.device)
    if bias is None:
        bias = tile_bias(plan, q.new_zeros(prod([2 * size - 1 for size in kernel]), q.shape[-2]))
    q, kv = q.flatten(1, len(grid)), torch.stack([k, v], dim=-3).flatten(1, len(grid))
    parts = []
    for tiles, addend in zip(plan.tiles, bias, strict=True):
        own = q.index_select(1, tiles.queries.flatten()).unflatten(1, tiles.queries.shape).transpose(2, 3)
        seen = kv.index_select(1, tiles.keys.flatten()).unflatten(1, tiles.keys.shape)
        keys, values = seen.permute(3, 0, 1, 4, 2, 5).unbind()
        if len(q) > 1 and not (addend.requires_grad and torch.is_grad_enabled()):
            # Tiles become heads, so that the fused op reads one table for the whole batch.
            flat = (t.flatten(1, 2) for t in (own, keys, values))
            y = attend(*flat, bias=addend.flatten(0, 1)[None], scale=scale).unflatten(1, own.shape[1:3])
        else:
            y = attend(own, keys, values, bias=addend, scale=scale)
        parts.append(y.transpose(2, 3).flatten(1, 2))
    y = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
    return y.index_select(1, plan.slots).unflatten(1, grid)


def tile_bias(plan: TilePlan, table: Tensor) -> list[Tensor]:
    """What is added to the scores of each kind of tiles: (G, heads, n, m), -inf where a pair may not meet."""
    wide = torch.cat([table, table.new_full((1, table.shape[1]), -torch.inf)])
    biases = []
    for tiles in plan.tiles:
        values = wide.index_select(0, tiles.rows.flatten()).view(*tiles.rows.shape, -1).permute(0, 3, 1, 2)
        biases.append(values.contiguous().index_select(0, tiles.kinds))
    return biases


def tile_plan(
    grid: tuple[int, ...], kernel: tuple[int, ...], dilation: tuple[int, ...], device: torch.device
) -> TilePlan:
    """The tiles of a map, cached.

    Raises:
        ValueError: for sizes of another rank than the grid's, even kernels, or anything below 1.
    """
    if not len(grid) == len(kernel) == len(dilation):
        raise ValueError(
            f"neighbourhood attention: kernel {kernel} and dilation {dilation} for a grid {grid}; "
            "give one number a grid axis"
        )
    if any(size % 2 == 0 for size in kernel) or min(*kernel, *dilation) < 1:
        raise ValueError(
            f"neighbourhood attention: kernel {kernel}, dilation {dilation}; give odd kernels and dilations >= 1"
        )
    return _tile_plan(grid, kernel, dilation, torch.device(device))


@lru_cache(maxsize=256)
def _tile_plan(
    grid: tuple[int, ...], kernel: tuple[int, ...], dilation: tuple[int, ...], device: torch.device
) -> TilePlan:
    # A plan first asked for in inference mode must serve training as well.
    with torch.inference_mode(False), torch.no_grad():
        axes = [_axis(*sizes, _TILE[len(grid)]) for sizes in zip(grid, kernel, dilation, strict=True)]
        tiles = [_together(combination, grid, kernel) for combination in product(*axes)]
        places = torch.cat([t.queries.flatten() for t in tiles])
        slots = torch.empty(prod(grid), dtype=torch.int64)
        slots[places] = torch.arange(len(places))
        moved = [Tiles(*[t.to(device) for t in own]) for own in tiles]
        return TilePlan(tuple(moved), slots.to(device))


def _axis(length: int, kernel: int, dilation: int, tile: int) -> list[_Axis]:
    """Sub-maps of equal length together: the residue classes below length mod dilation have one token more."""
    parts = []
    longer = length % dilation
    for first, last, own in ((0, longer, length // dilation + 1), (longer, dilation, length // dilation)):
        if first == last or not own:
            continue
        size = min(kernel, own)
        count = -(-own // tile)
        width = -(-own // count)
        block = min(width + size - 1, own)
        # In lists, because a plan may be made while a graph is traced.
        queries = [[min(t * width + i, own - 1) for i in range(width)] for t in range(count)]
        begin = [[min(max(place - size // 2, 0), own - size) for place in row] for row in queries]
        keys = [[min(row[0], own - block) + i for i in range(block)] for row in begin]
        kinds: dict[tuple, int] = {}
        numbers = []
        for places, starts, seen in zip(queries, begin, keys, strict=True):
            kind = tuple(
                tuple(key - place + kernel - 1 if first_key <= key < first_key + size else -1 for key in seen)
                for place, first_key in zip(places, starts, strict=True)
            )
            numbers.append(kinds.setdefault(kind, len(kinds)))
        classes = torch.arange(first, last)[:, None, None]
        parts.append(
            _Axis(
                torch.tensor(queries) * dilation + classes,
                torch.tensor(keys) * dilation + classes,
                torch.tensor([[list(row) for row in kind] for kind in kinds]),
                torch.tensor(numbers),
            )
        )
    return parts


def _together(axes: Sequence[_Axis], grid: tuple[int, ...], kernel: tuple[int, ...]) -> Tiles:
    """The product of what happens on each axis: a class and a tile of each axis make a group."""
    rank = len(axes)
    queries = keys = torch.zeros((), dtype=torch.int64)
    for axis, own in enumerate(axes):
        # Axes of the result: classes of all axes, tiles of all axes, slots of all axes.
        shape = [1] * (3 * rank)
        for part in range(3):
            shape[part * rank + axis] = own.queries.shape[part]
        queries = queries * grid[axis] + own.queries.view(shape)
        shape[2 * rank + axis] = own.keys.shape[2]
        keys = keys * grid[axis] + own.keys.view(shape)
    groups = queries.shape[: 2 * rank]
    rows = torch.zeros((), dtype=torch.int64)
    kinds = torch.zeros((), dtype=torch.int64)
    apart = torch.zeros((), dtype=torch.bool)
    for axis, own in enumerate(axes):
        shape = [1] * (3 * rank)
        for part in range(3):
            shape[part * rank + axis] = own.steps.shape[part]
        steps = own.steps.view(shape)
        rows, apart = rows * (2 * kernel[axis] - 1) + steps, apart | (steps < 0)
        shape = [1] * (2 * rank)
        shape[rank + axis] = len(own.kinds)
        kinds = kinds * len(own.steps) + own.kinds.view(shape)
    rows = rows.masked_fill(apart, prod([2 * size - 1 for size in kernel]))
    rows = rows.flatten(2 * rank).flatten(rank, 2 * rank - 1).flatten(0, rank - 1)
    return Tiles(
        queries.flatten(2 * rank).flatten(0, 2 * rank - 1),
        keys.flatten(2 * rank).flatten(0, 2 * rank - 1),
        rows,
        kinds.expand(groups).flatten(),
    )


def neighbourhood_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kernel: Sequence[int],
    dilation: Sequence[int],
    *,
    table: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """The definition: gathers the keys of every query. Arguments as above, with the table itself."""
    grid = q.shape[1:-2]
    rank = len(grid)
    numbers = rows = torch.zeros((), dtype=torch.int64, device=q.device)
    for axis, (length, size, step) in enumerate(zip(grid, kernel, dilation, strict=True)):
        place = torch.arange(length, device=q.device)
        own = (length - place % step + step - 1) // step
        seen = own.clamp(max=size)
        begin = torch.minimum((place // step - seen // 2).clamp(min=0), own - seen)
        inside = torch.arange(size, device=q.device)
        # A class with fewer keys than the kernel: -1 stands for a key that is not there.
        keys = torch.where(inside < seen[:, None], (begin[:, None] + inside) * step + (place % step)[:, None], -1)
        shape = [1] * (2 * rank)
        shape[axis], shape[rank + axis] = keys.shape
        there = (keys >= 0).view(shape)
        delta = torch.div(keys - place[:, None], step, rounding_mode="floor") + size - 1
        numbers = torch.where(there & (numbers >= 0), numbers * length + keys.view(shape), -1)
        rows = torch.where(numbers >= 0, rows * (2 * size - 1) + delta.view(shape), -1)
    numbers, rows = (t.flatten(rank).flatten(0, rank - 1) for t in (numbers, rows))
    q, k, v = (t.flatten(1, rank) for t in (q, k, v))
    keys, values = (t[:, numbers.clamp(min=0)] for t in (k, v))
    scores = torch.einsum("bnhd,bnkhd->bnhk", q, keys) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if table is not None:
        scores = scores + table[rows.clamp(min=0)].transpose(1, 2)
    weights = scores.masked_fill((numbers < 0)[:, None], -torch.inf).softmax(-1)
    return torch.einsum("bnhk,bnkhd->bnhd", weights, values).unflatten(1, grid)
