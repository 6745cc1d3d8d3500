"""Depthwise filters that differ from place to place (dynamic and involution-like filters; DLGSANet, Li et al. 2023).

    y_p,c = sum_o w_p,g(c),o x_(p+o),c        g(c) the group of channel c, zeros beyond the border

Shapes: x (B, H, W, C), weight (B, H, W, G, k, k) with odd k and G dividing C -> (B, H, W, C).

Decided: one multiply-add a tap on shifted views, forward and backward, so that nothing of k^2 C H W numbers exists
(unfolding writes it twice). Planes are what is read, so the views of channels-first memory, which convolutions without
a channels-last form give, are the fast ones; any memory is right. A map is worked on in strips of rows that fit into
the cache, and `dynamic_filter_strips` asks for the weights strip by strip too, which are k^2 G H W numbers otherwise.
"""

__all__ = ["dynamic_filter", "dynamic_filter_reference", "dynamic_filter_strips"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Numbers of x in a strip: what is read and written for one stays in the cache, and 49 calls for less do not pay.
_STRIP = 2**20


def dynamic_filter(x: Tensor, weight: Tensor) -> Tensor:
    """Each place filtered by its own kernels.

    Args:
        x: (B, H, W, C).
        weight: (B, H, W, G, k, k); channels c with the same c // (C / G) share a kernel.

    Raises:
        ValueError: where the shapes contradict each other or k is even.
    """
    _check(x, weight)
    if torch.compiler.is_compiling():
        return _shifted_sum(x, weight)
    wide = torch.promote_types(torch.promote_types(x.dtype, weight.dtype), torch.float32)
    planes, taps = _planes(x.to(wide)), _planes(weight.flatten(3).to(wide))
    y = _DynamicFilter.apply(planes, taps, weight.shape[3], weight.shape[4])
    return y.movedim(1, -1).to(x.dtype)


def dynamic_filter_reference(x: Tensor, weight: Tensor) -> Tensor:
    """The definition: every neighbourhood unfolded, multiplied and summed."""
    _check(x, weight)
    batch, height, width, channels = x.shape
    groups, kernel = weight.shape[3:5]
    near = F.unfold(x.movedim(-1, 1), kernel, padding=kernel // 2)
    near = near.view(batch, groups, channels // groups, kernel**2, height, width)
    own = weight.flatten(4).permute(0, 3, 4, 1, 2)[:, :, None]
    return (near * own).sum(3).flatten(1, 2).movedim(1, -1)


def dynamic_filter_strips(x: Tensor, weight_of: Callable[[int, int], Tensor], kernel: int) -> Tensor:
    """`dynamic_filter` without gradients, whose weights are made a strip of rows at a time.

    Args:
        x: (B, H, W, C).
        weight_of: gives the weights (B, rows, W, G, k, k) of the rows from a first to before a last.
        kernel: k.
    """
    with torch.no_grad():
        planes = _planes(x.to(torch.promote_types(x.dtype, torch.float32)))
        wide, out = _bordered(planes, kernel), torch.empty_like(planes, memory_format=torch.contiguous_format)
        for start, stop in _strips(planes):
            weight = weight_of(start, stop)
            _filter(wide, _planes(weight.flatten(3).to(wide.dtype)), out, weight.shape[3], kernel, start, stop)
    return out.movedim(1, -1).to(x.dtype)


class _DynamicFilter(torch.autograd.Function):
    """planes (B, C, H, W), taps (B, G k k, H, W) -> (B, C, H, W)."""

    @staticmethod
    def forward(ctx: Any, planes: Tensor, taps: Tensor, groups: int, kernel: int) -> Tensor:
        ctx.save_for_backward(planes, taps)
        ctx.groups, ctx.kernel = groups, kernel
        wide, out = _bordered(planes, kernel), torch.empty_like(planes, memory_format=torch.contiguous_format)
        for start, stop in _strips(planes):
            _filter(wide, taps[:, :, start:stop], out, groups, kernel, start, stop)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        planes, taps = ctx.saved_tensors
        groups, kernel = ctx.groups, ctx.kernel
        reach = kernel // 2
        height, width = planes.shape[2:]
        grad = _grouped(grad.contiguous(), groups)
        own = _grouped(taps, groups)
        grad_planes = grad_taps = None
        if ctx.needs_input_grad[0]:
            back = _grouped(torch.zeros_like(_bordered(planes, kernel)), groups)
            for start, stop in _strips(planes):
                part = grad[:, :, :, start:stop]
                for dy, dx, tap in _taps(kernel):
                    near = back[:, :, :, start + dy : stop + dy, dx : dx + width]
                    near.addcmul_(part, own[:, :, tap, None, start:stop])
            back = back[:, :, :, reach : reach + height, reach : reach + width]
            grad_planes = back.flatten(1, 2)
        if ctx.needs_input_grad[1]:
            wide = _grouped(_bordered(planes, kernel), groups)
            grad_taps = torch.empty_like(taps, memory_format=torch.contiguous_format)
            change = _grouped(grad_taps, groups)
            for start, stop in _strips(planes):
                part = grad[:, :, :, start:stop]
                for dy, dx, tap in _taps(kernel):
                    near = wide[:, :, :, start + dy : stop + dy, dx : dx + width]
                    change[:, :, tap, start:stop] = (part * near).sum(2)
        return grad_planes, grad_taps, None, None


def _filter(wide: Tensor, taps: Tensor, out: Tensor, groups: int, kernel: int, start: int, stop: int) -> None:
    """Rows start to stop of `out` (B, C, H, W) from bordered planes and the rows' taps (B, G k k, rows, W)."""
    near, own = _grouped(wide, groups), _grouped(taps, groups)
    part = _grouped(out, groups)[:, :, :, start:stop].zero_()
    width = out.shape[3]
    for dy, dx, tap in _taps(kernel):
        part.addcmul_(near[:, :, :, start + dy : stop + dy, dx : dx + width], own[:, :, tap, None])


def _shifted_sum(x: Tensor, weight: Tensor) -> Tensor:
    """The same in plain steps, which a compiler can follow and differentiate."""
    kernel, groups = weight.shape[4], weight.shape[3]
    near = F.pad(x, (0, 0, *[kernel // 2] * 4)).unflatten(-1, (groups, -1))
    y = torch.zeros_like(x).unflatten(-1, (groups, -1))
    for dy, dx, _ in _taps(kernel):
        y = y + near[:, dy : dy + x.shape[1], dx : dx + x.shape[2]] * weight[..., dy, dx, None]
    return y.flatten(-2).to(x.dtype)


def _planes(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W)."""
    return x.movedim(-1, 1)


def _grouped(planes: Tensor, groups: int) -> Tensor:
    """(B, C, H, W) -> (B, G, C / G, H, W)."""
    return planes.unflatten(1, (groups, -1))


def _bordered(planes: Tensor, kernel: int) -> Tensor:
    """The planes with zeros around them, whatever their order in memory was: one copy, where padding makes two."""
    batch, channels, height, width = planes.shape
    reach = kernel // 2
    wide = planes.new_zeros(batch, channels, height + 2 * reach, width + 2 * reach)
    wide[:, :, reach : reach + height, reach : reach + width] = planes
    return wide


def _taps(kernel: int) -> list[tuple[int, int, int]]:
    return [(dy, dx, dy * kernel + dx) for dy in range(kernel) for dx in range(kernel)]


def _strips(planes: Tensor) -> list[tuple[int, int]]:
    batch, channels, height, width = planes.shape
    # Other devices hide no cache: there a whole map is one strip.
    rows = height if planes.device.type != "cpu" else max(_STRIP // max(batch * channels * width, 1), 1)
    return [(start, min(start + rows, height)) for start in range(0, height, max(rows, 1))]


def _check(x: Tensor, weight: Tensor) -> None:
    fits = x.ndim == 4 and weight.ndim == 6 and weight.shape[:3] == x.shape[:3]
    if not fits or x.shape[3] % weight.shape[3] or weight.shape[4] != weight.shape[5] or weight.shape[4] % 2 == 0:
        raise ValueError(
            f"dynamic_filter: weights {tuple(weight.shape)} for x {tuple(x.shape)}; give x (B, H, W, C) and weights "
            "(B, H, W, G, k, k) with odd k and G dividing C"
        )
