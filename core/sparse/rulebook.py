"""Rulebooks: which input row meets which output row under which tap of a kernel.

A tap is the kernel position (k_1, ..., k_D); output place o meets input place i = o * stride - padding + k * dilation,
the convention of dense convolutions. Transposed convolutions have the roles turned round.

Submanifold pairs (outputs at the input's sites): keys get a halo as wide as the kernel reaches, so that a tap is a
constant difference of keys. Only taps after the centre are looked up; mirrored ones are the same pairs with input and
output exchanged, and the centre is every row with itself. A line of taps along the last axis takes one binary search
for its first tap; the next taps compare the entry under a pointer that moves on by every hit, which is right because
sites are sorted. Pairs come out in rising order, so that gathers and sums run through memory once.

Strided pairs: one list a tap from the axes' coordinates, output sites = the distinct keys reached, sorted. Inverse
convolutions and the gradients use the same lists exchanged.

Every rulebook is kept with the sites it was made for and made once.
"""

__all__ = ["strided_pairs", "submanifold_pairs", "transposed_pairs"]

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from core.ops.sparse_conv import Pairs, Tap
from core.sparse.tensor import Sites


class Step(NamedTuple):
    """Pairs from one set of sites to another."""

    pairs: Pairs
    sites: Sites


def submanifold_pairs(sites: Sites, kernel: Sequence[int], dilation: Sequence[int]) -> Pairs:
    """Pairs among the sites themselves.

    Raises:
        ValueError: an even kernel, which has no centre.
    """
    kernel, dilation = tuple(kernel), tuple(dilation)
    _check_rank(sites, kernel)
    if any(size % 2 == 0 for size in kernel):
        raise ValueError(f"submanifold convolution: kernel {kernel} has no centre; give odd sizes")
    return sites.plan(("submanifold", kernel, dilation), lambda: _submanifold(sites, kernel, dilation))


def strided_pairs(
    sites: Sites, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Step:
    """Pairs of a convolution, and the sites it reaches: all whose window holds an occupied one.

    Raises:
        ValueError: a kernel that is longer than the padded grid.
    """
    kernel, stride, padding, dilation = tuple(kernel), tuple(stride), tuple(padding), tuple(dilation)
    _check_rank(sites, kernel)
    grid = tuple(
        (length + 2 * p - d * (k - 1) - 1) // s + 1
        for length, k, s, p, d in zip(sites.grid, kernel, stride, padding, dilation, strict=True)
    )
    if min(grid) < 1:
        raise ValueError(
            f"sparse convolution: kernel {kernel} with stride {stride} and padding {padding} leaves {grid} "
            f"of a grid {sites.grid}; take a larger grid or more padding"
        )

    def make() -> Step:
        reached = []
        for axis, (k, s, p, d) in enumerate(zip(kernel, stride, padding, dilation, strict=True)):
            column = sites.coords[:, 1 + axis]
            taps = []
            for tap in range(k):
                place = column + (p - tap * d)
                target = place if s == 1 else place.div(s, rounding_mode="floor")
                inside = (target >= 0) & (target < grid[axis])
                taps.append((target, inside if s == 1 else inside & (target * s == place)))
            reached.append(taps)
        return _reach(sites, grid, reached)

    return sites.plan(("strided", kernel, stride, padding, dilation), make)


def transposed_pairs(
    sites: Sites,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    dilation: Sequence[int],
) -> Step:
    """Pairs of a transposed convolution, and the sites it reaches.

    Raises:
        ValueError: a padding that leaves no output.
    """
    kernel, stride, padding, dilation = tuple(kernel), tuple(stride), tuple(padding), tuple(dilation)
    extra = tuple(output_padding)
    _check_rank(sites, kernel)
    grid = tuple(
        (length - 1) * s - 2 * p + d * (k - 1) + 1 + e
        for length, k, s, p, d, e in zip(sites.grid, kernel, stride, padding, dilation, extra, strict=True)
    )
    if min(grid) < 1:
        raise ValueError(
            f"transposed convolution: kernel {kernel} with stride {stride} and padding {padding} leaves {grid} "
            f"of a grid {sites.grid}; take less padding"
        )

    def make() -> Step:
        reached = []
        for axis, (k, s, p, d) in enumerate(zip(kernel, stride, padding, dilation, strict=True)):
            start = sites.coords[:, 1 + axis] * s - p
            targets = [start + tap * d for tap in range(k)]
            reached.append([(target, (target >= 0) & (target < grid[axis])) for target in targets])
        return _reach(sites, grid, reached)

    return sites.plan(("transposed", kernel, stride, padding, extra, dilation), make)


def _check_rank(sites: Sites, kernel: tuple[int, ...]) -> None:
    if len(kernel) != sites.rank:
        raise ValueError(f"sparse convolution: kernel {kernel} on a grid {sites.grid}; give one size an axis")


def _submanifold(sites: Sites, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> Pairs:
    reach = tuple(d * (k // 2) for k, d in zip(kernel, dilation, strict=True))
    keys = sites.keys(reach)
    steps = [1]
    for length, halo in zip(sites.grid[:0:-1], reach[:0:-1], strict=True):
        steps.insert(0, steps[0] * (length + 2 * halo))
    volume = prod(kernel)
    taps: list[Tap | None] = [None] * volume
    taps[volume // 2] = Tap(volume // 2, None, None)
    last, run = kernel[-1], dilation[-1]
    # A key that no site has behind the last one, so that a pointer may stand there.
    ended = torch.cat([keys, keys.new_full((1,), torch.iinfo(torch.int64).max)])
    for row, offsets in enumerate(product(*(range(k) for k in kernel[:-1]))):
        first = 0
        if row == volume // last // 2:
            first = last // 2 + 1
        elif row < volume // last // 2:
            continue
        start = sum((o - k // 2) * d * s for o, k, d, s in zip(offsets, kernel, dilation, steps, strict=False))
        pointer = None
        for column in range(first, last):
            wanted = keys + (start + (column - last // 2) * run)
            # Between the taps of a dilated line lie sites that the pointer would have to pass.
            if pointer is None or run > 1:
                pointer = torch.searchsorted(keys, wanted)
            hit = ended.index_select(0, pointer) == wanted
            target = hit.nonzero().squeeze(1)
            source = pointer.index_select(0, target)
            tap = row * last + column
            taps[tap] = Tap(tap, source, target)
            taps[volume - 1 - tap] = Tap(volume - 1 - tap, target, source)
            if column + 1 < last and run == 1:
                pointer = pointer + hit
    return Pairs([tap for tap in taps if tap is not None], len(sites), len(sites))


def _reach(sites: Sites, grid: tuple[int, ...], reached: list[list[tuple[Tensor, Tensor]]]) -> Step:
    """The sites that the taps reach: an axis and tap each a target coordinate and whether it counts."""
    keys, sources = [], []
    for choice in product(*reached):
        inside = choice[0][1]
        for _, also in choice[1:]:
            inside = inside & also
        source = inside.nonzero().squeeze(1)
        key = sites.coords[:, 0].index_select(0, source)
        for (target, _), length in zip(choice, grid, strict=True):
            key = key * length + target.index_select(0, source)
        keys.append(key)
        sources.append(source)
    distinct, rows = torch.unique(torch.cat(keys), return_inverse=True)
    targets = rows.split([len(key) for key in keys])
    taps = [Tap(tap, source, target) for tap, (source, target) in enumerate(zip(sources, targets, strict=True))]
    return Step(Pairs(taps, len(sites), len(distinct)), Sites.from_keys(distinct, grid, sites.batch_size))
