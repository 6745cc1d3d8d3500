"""Loops over the rows of a CSR relation, compiled by numba; `core.ops.csr` and its neighbours say what they compute.

A kernel fills the rows `first` to `last` - 1 of its outputs and nothing else, holds no lock and keeps no state: rows
are shared out to as many threads as torch uses, and the result does not depend on how many. The order of additions
within a row is that of its edges. Nothing is checked here: `Csr.ensure` has been called.

`order` (E,) says where the value of an edge lies; the transposed relation has it, so that no value moves.
"""

__all__ = ["attend", "attend_backward", "attend_rows", "dots", "largest", "largest_backward", "softmax",
           "softmax_backward", "spread", "sums", "transpose", "weighted_sums"]  # fmt: skip

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from math import exp
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

# Products may be added in any order (a vector's worth at a time); NaN and infinities keep their meaning.
REORDERED = {"reassoc", "contract", "nsz"}
# Elements that are worth another thread.
SHARE = 1 << 18


def compiled(fastmath: Any = False) -> Callable[[Callable], Callable]:
    """numba's compiler without the interpreter's lock, kept on disk where there is a place to keep it."""

    def decorate(function: Callable) -> Callable:
        try:
            return njit(nogil=True, cache=True, fastmath=fastmath, error_model="numpy")(function)
        except RuntimeError:
            return njit(nogil=True, fastmath=fastmath, error_model="numpy")(function)

    return decorate


_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def spread(kernel: Callable, offsets: NDArray, per_edge: int, *arrays: Any) -> None:
    """Run `kernel(offsets, *arrays, first, last)` over all rows, shares of about as many edges on each thread.

    Args:
        kernel: of this module.
        offsets: (R + 1,).
        per_edge: numbers that an edge costs.
        arrays: its other arguments.
    """
    rows = len(offsets) - 1
    work = (int(offsets[-1]) + rows) * per_edge
    threads = max(1, min(torch.get_num_threads(), work // SHARE))
    if threads == 1:
        kernel(offsets, *arrays, 0, rows)
        return
    # A process that was forked has none of its parent's threads.
    pool = _pools.get((os.getpid(), threads))
    if pool is None:
        pool = _pools[os.getpid(), threads] = ThreadPoolExecutor(threads, "csr")
    # A row costs its output as well, about as much as an edge.
    costs = offsets + np.arange(rows + 1)
    ends = np.searchsorted(costs, np.linspace(0, costs[-1], threads + 1)[1:-1])
    bounds = [0, *ends.tolist(), rows]
    for done in [pool.submit(kernel, offsets, *arrays, a, b) for a, b in pairwise(bounds)]:
        done.result()


@compiled()
def sums(offsets, columns, x, y, first, last):
    """y[i] = sum of x[j] over the edges of row i; x (M, C), y (R, C).

    Four edges at a time, added one after the other as before: y is read a quarter as often and four rows of x are
    fetched at once, 0.7 of the time at 100 k rows of 128.
    """
    width = x.shape[1]
    for i in range(first, last):
        e, end = offsets[i], offsets[i + 1]
        for c in range(width):
            y[i, c] = 0
        while e + 4 <= end:
            j, k, m, n = columns[e], columns[e + 1], columns[e + 2], columns[e + 3]
            for c in range(width):
                y[i, c] = y[i, c] + x[j, c] + x[k, c] + x[m, c] + x[n, c]
            e += 4
        while e < end:
            j = columns[e]
            for c in range(width):
                y[i, c] += x[j, c]
            e += 1


@compiled()
def weighted_sums(offsets, columns, order, weights, x, y, first, last):
    """y[i, h] = sum of weights[order[e], h] * x[j, h]; weights (E, H), x (M, H, D), y (R, H, D)."""
    heads, width = x.shape[1], x.shape[2]
    for i in range(first, last):
        for h in range(heads):
            for c in range(width):
                y[i, h, c] = 0
        for e in range(offsets[i], offsets[i + 1]):
            j = columns[e]
            at = order[e]
            for h in range(heads):
                weight = weights[at, h]
                for c in range(width):
                    y[i, h, c] += weight * x[j, h, c]


@compiled(REORDERED)
def dots(offsets, columns, x, y, z, first, last):
    """z[e, h] = x[j, h] . y[i, h]; x (M, H, D), y (R, H, D), z (E, H)."""
    heads, width = x.shape[1], x.shape[2]
    for i in range(first, last):
        for e in range(offsets[i], offsets[i + 1]):
            j = columns[e]
            for h in range(heads):
                total = x.dtype.type(0)
                for c in range(width):
                    total += x[j, h, c] * y[i, h, c]
                z[e, h] = total


@compiled()
def largest(offsets, columns, x, y, shares, first, last):
    """y[i] = largest x[j], 0 without edges, NaN where one is NaN; shares[i] = how many edges have it."""
    width = x.shape[1]
    for i in range(first, last):
        begin, end = offsets[i], offsets[i + 1]
        for c in range(width):
            y[i, c] = 0 if begin == end else -np.inf
            shares[i, c] = 0
        for e in range(begin, end):
            j = columns[e]
            for c in range(width):
                # Without branches, so that a vector's worth of channels is compared at a time.
                value, old, count = x[j, c], y[i, c], shares[i, c]
                more = (value > old) | (value != value)
                shares[i, c] = 1 if more else count + (value == old)
                y[i, c] = value if more else old


@compiled()
def largest_backward(offsets, columns, x, y, parts, z, first, last):
    """Over the transposed relation: z[j] = sum of parts[i] where x[j] is row i's largest."""
    width = x.shape[1]
    for j in range(first, last):
        for c in range(width):
            z[j, c] = 0
        for e in range(offsets[j], offsets[j + 1]):
            i = columns[e]
            for c in range(width):
                z[j, c] += parts[i, c] if x[j, c] == y[i, c] else 0


@compiled()
def softmax(offsets, logits, y, first, last):
    """y[e, h] = softmax over the edges of a row; logits and y (E, H)."""
    heads = logits.shape[1]
    for i in range(first, last):
        begin, end = offsets[i], offsets[i + 1]
        if begin == end:
            continue
        for h in range(heads):
            top = logits[begin, h]
            for e in range(begin + 1, end):
                top = max(top, logits[e, h])
            # A row of -inf alone has weight nowhere.
            if top == -np.inf:
                top = logits.dtype.type(0)
            total = 0.0
            for e in range(begin, end):
                y[e, h] = exp(logits[e, h] - top)
                total += y[e, h]
            if total == 0:
                total = 1.0
            for e in range(begin, end):
                y[e, h] /= total


@compiled()
def softmax_backward(offsets, y, gradient, z, first, last):
    """z = y * (gradient - sum over the row of y * gradient)."""
    heads = y.shape[1]
    for i in range(first, last):
        for h in range(heads):
            total = 0.0
            for e in range(offsets[i], offsets[i + 1]):
                total += y[e, h] * gradient[e, h]
            for e in range(offsets[i], offsets[i + 1]):
                z[e, h] = y[e, h] * (gradient[e, h] - total)


@compiled()
def attend(offsets, columns, x, source, target, slope, y, tops, totals, first, last):
    """y[i, h] = sum over j of softmax_j(leaky(source[j, h] + target[i, h])) x[j, h].

    `tops` and `totals` (R, H) keep what the softmax subtracted and divided by. The larger of the sums belongs to the
    larger of the sources, for the leaky step rises: one pass over the sources finds it.
    """
    heads, width = x.shape[1], x.shape[2]
    for i in range(first, last):
        begin, end = offsets[i], offsets[i + 1]
        for h in range(heads):
            tops[i, h] = 0
            totals[i, h] = 0
            for c in range(width):
                y[i, h, c] = 0
        if begin == end:
            continue
        for h in range(heads):
            tops[i, h] = source[columns[begin], h]
        for e in range(begin + 1, end):
            j = columns[e]
            for h in range(heads):
                if source[j, h] > tops[i, h]:
                    tops[i, h] = source[j, h]
        for h in range(heads):
            score = tops[i, h] + target[i, h]
            tops[i, h] = score if score > 0 else slope * score
        for e in range(begin, end):
            j = columns[e]
            for h in range(heads):
                score = source[j, h] + target[i, h]
                if not score > 0:
                    score *= slope
                weight = exp(score - tops[i, h])
                totals[i, h] += weight
                for c in range(width):
                    y[i, h, c] += weight * x[j, h, c]
        for h in range(heads):
            scale = 1 / totals[i, h]
            for c in range(width):
                y[i, h, c] *= scale


@compiled(REORDERED)
def attend_backward(
    offsets, columns, order, x, source, target, slope, tops, totals, gradient, inner, of_x, of_source, of_logits, first,
    last,
):  # fmt: skip
    """Over the transposed relation: gradients of x and source, and of the logits of every edge (E, H).

    `inner` (R, H) is gradient . y, what the softmax takes from every weight's gradient.
    """
    heads, width = x.shape[1], x.shape[2]
    for j in range(first, last):
        for h in range(heads):
            of_source[j, h] = 0
            for c in range(width):
                of_x[j, h, c] = 0
        for e in range(offsets[j], offsets[j + 1]):
            i = columns[e]
            at = order[e]
            for h in range(heads):
                score = source[j, h] + target[i, h]
                slant = slope
                if score > 0:
                    slant = slope * 0 + 1
                weight = exp(score * slant - tops[i, h]) / totals[i, h]
                product = x.dtype.type(0)
                for c in range(width):
                    product += gradient[i, h, c] * x[j, h, c]
                    of_x[j, h, c] += weight * gradient[i, h, c]
                change = weight * (product - inner[i, h]) * slant
                of_logits[at, h] = change
                of_source[j, h] += change


@compiled()
def attend_rows(offsets, of_logits, of_target, first, last):
    """of_target[i] = sum of of_logits[e] over the edges of row i."""
    heads = of_logits.shape[1]
    for i in range(first, last):
        for h in range(heads):
            of_target[i, h] = 0
        for e in range(offsets[i], offsets[i + 1]):
            for h in range(heads):
                of_target[i, h] += of_logits[e, h]


@compiled()
def transpose(offsets, columns, starts, rows, order):
    """Edges by column: a counting sort that keeps the order of rows.

    Args:
        offsets: (R + 1,).
        columns: (E,).
        starts: (M + 1,) int64 zeros, made the offsets of the columns.
        rows: (E,), made the row of each edge.
        order: (E,), made its place among the edges.
    """
    for e in range(len(columns)):
        starts[columns[e] + 1] += 1
    for j in range(len(starts) - 1):
        starts[j + 1] += starts[j]
    for i in range(len(offsets) - 1):
        for e in range(offsets[i], offsets[i + 1]):
            j = columns[e]
            rows[starts[j]] = i
            order[starts[j]] = e
            starts[j] += 1
    # Each start has moved to its end, which is the start of the next.
    for j in range(len(starts) - 1, 0, -1):
        starts[j] = starts[j - 1]
    starts[0] = 0
