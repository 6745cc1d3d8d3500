"""Convolution and pooling over pairs: y_t = sum over taps k and pairs (s, t) of k of W_k x_s.

Shapes: x (N, in), weight (out, *kernel, in) -> (M, out); depthwise x (N, C), weight (*kernel, C) -> (M, C).
`core.sparse.rulebook` makes the pairs.

Decided: one gather, one product and one sum a tap, never a table of N x taps, nine tenths of which is empty. Within a
tap every row occurs once on either side, so that no sum has two writers: results repeat bit by bit, on a GPU too, and
do not depend on the number of threads. (spconv's CPU kernel sums all pairs in parallel without protection: with two
threads one call in five is wrong by 3e-3.) The backward pass walks the same pairs. Half precision accumulates in
float32. The gathered rows of all taps share one buffer, because fresh memory costs as much as the gather. What has no
product but sums (depthwise, means) takes its pairs ordered by output row as well, summed by one kernel: twice as fast.
"""

__all__ = [
    "Pairs",
    "Tap",
    "sparse_average_pool",
    "sparse_conv",
    "sparse_conv_reference",
    "sparse_depthwise",
    "sparse_depthwise_reference",
    "sparse_max_pool",
]

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

# Pairs of one bag at most: 16 MiB of 32 channels.
_GROUP = 2**17


class Tap(NamedTuple):
    """Pairs of one kernel position; no row twice on either side.

    Attributes:
        position: its number, in raster order of the kernel.
        source: (P,) rows of the input, or None where every row meets itself.
        target: (P,) rows of the output, or None likewise.
    """

    position: int
    source: Tensor | None
    target: Tensor | None


class Bag(NamedTuple):
    """Taps together, their pairs ordered by output row.

    Attributes:
        sources: (P,) rows of the input, tap after tap.
        spans: a tap's position, and where its pairs begin and end.
        order: (P,) numbers of the pairs, by their row of the output.
        starts: (M,) where each row of the output begins in `order`.
    """

    sources: Tensor
    spans: tuple[tuple[int, int, int], ...]
    order: Tensor
    starts: Tensor


class Pairs:
    """All taps of a kernel between two sets of rows.

    Args:
        taps: their pairs.
        sources, targets: number of rows of the input and of the output.
    """

    def __init__(self, taps: Sequence[Tap], sources: int, targets: int) -> None:
        self.taps, self.sources, self.targets = tuple(taps), sources, targets
        self._bags: tuple[Bag, ...] | None = None
        self._swapped: Pairs | None = None

    def swapped(self) -> "Pairs":
        """Input and output exchanged: the pairs of the inverse convolution."""
        if self._swapped is None:
            self._swapped = Pairs([Tap(k, t, s) for k, s, t in self.taps], self.targets, self.sources)
        return self._swapped

    def bags(self) -> tuple[Bag, ...]:
        """The taps by output row, in groups of limited size, without those where every row meets itself."""
        if self._bags is None:
            with torch.inference_mode(False):
                self._bags = tuple(self._bag(group) for group in self._groups())
        return self._bags

    def _groups(self) -> Iterator[list[Tap]]:
        group: list[Tap] = []
        size = 0
        for tap in self.taps:
            count = 0 if tap.source is None else len(tap.source)
            if group and size + count > _GROUP:
                yield group
                group, size = [], 0
            if count:
                group.append(tap)
                size += count
        if group:
            yield group

    def _bag(self, group: list[Tap]) -> Bag:
        targets = torch.cat([t for _, _, t in group if t is not None])
        counts = torch.bincount(targets, minlength=self.targets)
        spans, start = [], 0
        for position, source, _ in group:
            assert source is not None
            spans.append((position, start, start + len(source)))
            start += len(source)
        sources = torch.cat([s for _, s, _ in group if s is not None])
        return Bag(sources, tuple(spans), targets.sort(stable=True).indices, counts.cumsum(0) - counts)


def sparse_conv(x: Tensor, weight: Tensor, pairs: Pairs, bias: Tensor | None = None) -> Tensor:
    """Convolution of rows (N, in) into rows (M, out).

    Args:
        x: features of the input sites.
        weight: (out, *kernel, in).
        pairs: which rows meet under which tap.
        bias: (out,).

    Raises:
        ValueError: where x does not have the pairs' rows or the weight's channels.
    """
    _check(x, pairs, weight.shape[-1])
    x, weight, bias = _autocast(x, weight, bias)
    with torch.autocast(x.device.type, enabled=False):
        return _Convolution.apply(x, weight, bias, pairs)


def sparse_conv_reference(x: Tensor, weight: Tensor, pairs: Pairs, bias: Tensor | None = None) -> Tensor:
    """The same, one tap after the other, with the gradients that torch derives."""
    y = x.new_zeros(pairs.targets, weight.shape[0])
    for k, source, target in pairs.taps:
        rows = (x if source is None else x[source]) @ weight.flatten(1, -2)[:, k].T
        y = y + rows if target is None else y.index_add(0, target, rows)
    return y if bias is None else y + bias


def sparse_depthwise(x: Tensor, weight: Tensor, pairs: Pairs, bias: Tensor | None = None) -> Tensor:
    """Depthwise convolution of rows (N, C) into rows (M, C).

    Args:
        x: features of the input sites.
        weight: (*kernel, C).
        pairs: which rows meet under which tap.
        bias: (C,).

    Raises:
        ValueError: where x does not have the pairs' rows or the weight's channels.
    """
    _check(x, pairs, weight.shape[-1])
    x, weight, bias = _autocast(x, weight, bias)
    with torch.autocast(x.device.type, enabled=False):
        y = _Depthwise.apply(x, weight, pairs)
        return y if bias is None else y + bias


def sparse_depthwise_reference(x: Tensor, weight: Tensor, pairs: Pairs, bias: Tensor | None = None) -> Tensor:
    """The same, one tap after the other, with the gradients that torch derives."""
    y = x.new_zeros(pairs.targets, x.shape[1])
    for k, source, target in pairs.taps:
        rows = (x if source is None else x[source]) * weight.flatten(0, -2)[k]
        y = y + rows if target is None else y.index_add(0, target, rows)
    return y if bias is None else y + bias


def sparse_max_pool(x: Tensor, pairs: Pairs) -> Tensor:
    """Largest value of the rows that meet an output row; of equal ones the first tap gets the gradient.

    Empty places do not take part, so that the maximum of negative features is negative.
    """
    _check(x, pairs, x.shape[-1])
    return _MaxPool.apply(x, pairs)


def sparse_average_pool(x: Tensor, pairs: Pairs) -> Tensor:
    """Mean of the rows that meet an output row; empty places do not count."""
    _check(x, pairs, x.shape[-1])
    count = x.new_zeros(pairs.targets)
    for _, source, target in pairs.taps:
        if source is None or target is None:
            count += 1
        else:
            count.index_add_(0, target, count.new_ones(len(target)))
    return _Sum.apply(x, pairs) / count.clamp(min=1)[:, None]


def _check(x: Tensor, pairs: Pairs, channels: int) -> None:
    if x.ndim != 2 or len(x) != pairs.sources or x.shape[1] != channels:
        raise ValueError(
            f"sparse convolution: features of shape {tuple(x.shape)}; give ({pairs.sources}, {channels}), "
            "the sites of the pairs and the channels of the weight"
        )


def _autocast(*tensors: Tensor | None) -> tuple[Any, ...]:
    """The tensors in autocast's type where it is on, otherwise in their common one."""
    first = tensors[0]
    assert first is not None
    kind = first.device.type
    if torch.is_autocast_enabled(kind) and first.dtype != torch.float64:
        return tuple(None if t is None else t.to(torch.get_autocast_dtype(kind)) for t in tensors)
    return tensors


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _longest(pairs: Pairs) -> int:
    return max((len(source) for _, source, _ in pairs.taps if source is not None), default=0)


def _taps_of(weight: Tensor) -> Tensor:
    """(out, *kernel, in) -> (taps, in, out), each tap in one piece."""
    return weight.flatten(1, -2).permute(1, 2, 0).contiguous()


def _identity(pairs: Pairs) -> int | None:
    """Position of the tap where every row meets itself, if there is one."""
    return next((k for k, source, _ in pairs.taps if source is None), None)


def _convolve(x: Tensor, taps: Tensor, pairs: Pairs) -> Tensor:
    """taps (K, in, out) -> (M, out) in the type that sums are kept in."""
    channels, width = taps.shape[1:]
    own = _identity(pairs)
    y = x.new_zeros(pairs.targets, width, dtype=_wide(x)) if own is None else (x @ taps[own]).to(_wide(x))
    longest = _longest(pairs)
    gathered, products = x.new_empty(longest, channels), x.new_empty(longest, width)
    for k, source, target in pairs.taps:
        if source is None or target is None:
            continue
        rows = torch.index_select(x, 0, source, out=gathered[: len(source)])
        y.index_add_(0, target, torch.mm(rows, taps[k], out=products[: len(source)]).to(y.dtype))
    return y


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, pairs: Pairs) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.pairs = pairs
        y = _convolve(x, _taps_of(weight), pairs)
        if bias is not None:
            y += bias
        return y.to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        gradient = gradient.contiguous()
        back = weight.flatten(1, -2).transpose(0, 1).contiguous()
        own = _identity(ctx.pairs)
        of_x = None
        if wants_x:
            of_x = x.new_zeros(x.shape, dtype=_wide(x)) if own is None else (gradient @ back[own]).to(_wide(x))
        # (taps, out, in), so that each tap's product is written in one piece.
        of_weight = x.new_zeros(back.shape) if wants_weight else None
        longest = _longest(ctx.pairs)
        heads, rows = gradient.new_empty(longest, gradient.shape[1]), x.new_empty(longest, x.shape[1])
        for k, source, target in ctx.pairs.taps:
            if source is None or target is None:
                head, tail = gradient, x
            else:
                head = torch.index_select(gradient, 0, target, out=heads[: len(target)])
                tail = torch.index_select(x, 0, source, out=rows[: len(source)]) if wants_weight else rows
            if of_weight is not None:
                torch.mm(head.T, tail, out=of_weight[k])
            if of_x is not None and source is not None:
                of_x.index_add_(0, source, torch.mm(head, back[k], out=rows[: len(source)]).to(of_x.dtype))
        if of_weight is not None:
            of_weight = of_weight.transpose(0, 1).reshape(weight.shape)
        of_bias = gradient.sum(0) if wants_bias else None
        return None if of_x is None else of_x.to(x.dtype), of_weight, of_bias, None


def _depthwise(x: Tensor, taps: Tensor, pairs: Pairs) -> Tensor:
    """taps (K, C) -> (M, C) in the type that sums are kept in."""
    x, taps = x.to(_wide(x)), taps.to(_wide(x))
    y: Tensor | None = None
    for sources, spans, order, starts in pairs.bags():
        rows = x.new_empty(len(sources), x.shape[1])
        for k, start, end in spans:
            # A tap at a time, while its rows are in the cache.
            torch.index_select(x, 0, sources[start:end], out=rows[start:end]).mul_(taps[k])
        sums = F.embedding_bag(order, rows, starts, mode="sum")
        y = sums if y is None else y.add_(sums)
    y = x.new_zeros(pairs.targets, x.shape[1]) if y is None else y
    own = _identity(pairs)
    return y if own is None else y.addcmul_(x, taps[own])


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, pairs: Pairs) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.pairs = pairs
        return _depthwise(x, weight.flatten(0, -2), pairs).to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, _ = ctx.needs_input_grad
        gradient = gradient.contiguous()
        of_x = _depthwise(gradient, weight.flatten(0, -2), ctx.pairs.swapped()).to(x.dtype) if wants_x else None
        of_weight = None
        if wants_weight:
            of_weight = torch.zeros_like(weight).flatten(0, -2)
            for k, source, target in ctx.pairs.taps:
                if source is None or target is None:
                    products = x * gradient
                else:
                    products = x.index_select(0, source).mul_(gradient.index_select(0, target))
                of_weight[k] = products.sum(0)
            of_weight = of_weight.view(weight.shape)
        return of_x, of_weight, None


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pairs: Pairs) -> Tensor:
        y = x.new_full((pairs.targets, x.shape[1]), -torch.inf)
        winner = torch.full_like(y, -1, dtype=torch.int32)
        for k, source, target in pairs.taps:
            if source is None or target is None:
                better = (x > y) | x.isnan()
                y, winner = torch.where(better, x, y), winner.masked_fill(better, k)
                continue
            rows, best = x.index_select(0, source), y.index_select(0, target)
            better = (rows > best) | rows.isnan()
            y.index_copy_(0, target, torch.where(better, rows, best))
            winner.index_copy_(0, target, winner.index_select(0, target).masked_fill_(better, k))
        ctx.save_for_backward(winner)
        ctx.pairs = pairs
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (winner,) = ctx.saved_tensors
        of_x = gradient.new_zeros(ctx.pairs.sources, gradient.shape[1])
        for k, source, target in ctx.pairs.taps:
            won = winner == k if target is None else winner.index_select(0, target) == k
            rows = gradient if target is None else gradient.index_select(0, target)
            rows = rows.masked_fill(~won, 0)
            of_x = of_x + rows if source is None else of_x.index_add_(0, source, rows)
        return of_x, None


def _summed(x: Tensor, pairs: Pairs) -> Tensor:
    y = x.new_zeros(pairs.targets, x.shape[1]) if _identity(pairs) is None else x.clone()
    for sources, _, order, starts in pairs.bags():
        y += F.embedding_bag(sources[order], x, starts, mode="sum")
    return y


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pairs: Pairs) -> Tensor:
        ctx.pairs = pairs
        return _summed(x, pairs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _summed(gradient, ctx.pairs.swapped()), None
