"""Convolutions and pooling of sparse tensors; weights are laid out (out, *kernel, in) as spconv's.

    SubmanifoldConv           outputs at the input's sites: occupied places do not spread
    SparseConv                outputs wherever the kernel meets an occupied place, with stride, padding, dilation
    InverseConv               back from a `SparseConv` to the sites that it came from
    TransposedConv            outputs wherever the transposed kernel reaches
    SubmanifoldDepthwiseConv  one kernel a channel, weights (*kernel, dim), of any size such as (1, 1, 13)
    SparseMaxPool, SparseAveragePool    over the occupied places of a window

All run on any device and in any precision, with any number of sites, none included; their pairs are made once for a
set of sites and shared by all layers of the same kernel. A tensor's order is its sites', so results do not depend on
the order of the points. An integer kernel, stride, padding or dilation stands for three equal axes.

Decided: kernels start as dense convolutions of torch do, uniform with bound 1 / sqrt(in * taps). The depthwise kernels
of ScatterFormer's release start as N(0, 1), which multiplies a unit signal by the square root of the taps; here
1 / sqrt(taps). InverseConv is told where to go by the tensor it goes back to, instead of a name shared by two layers.
"""

__all__ = [
    "InverseConv",
    "SparseAveragePool",
    "SparseConv",
    "SparseMaxPool",
    "SparseModule",
    "SubmanifoldConv",
    "SubmanifoldDepthwiseConv",
    "TransposedConv",
]

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from core.ops.sparse_conv import Pairs, sparse_average_pool, sparse_conv, sparse_depthwise, sparse_max_pool
from core.sparse.rulebook import Step, strided_pairs, submanifold_pairs, transposed_pairs
from core.sparse.tensor import SparseTensor

Size = int | Sequence[int]


def axes(size: Size, rank: int, name: str, least: int = 1) -> tuple[int, ...]:
    """One number an axis.

    Raises:
        ValueError: where their count or size is wrong.
    """
    sizes = (size,) * rank if isinstance(size, int) else tuple(size)
    if len(sizes) != rank or min(sizes) < least:
        raise ValueError(f"{name} {size}: give a number of at least {least} for each of {rank} axes")
    return sizes


def _run(conv: "_Convolution", x: SparseTensor, like: SparseTensor | None = None) -> SparseTensor:
    # Here, because that module knows these classes.
    from core.sparse.spconv import run

    return run(conv, x, like)  # type: ignore[arg-type]


class SparseModule(nn.Module):
    """Base class of what maps a sparse tensor to one."""

    def forward(self, x: SparseTensor) -> SparseTensor:
        raise NotImplementedError


class _Convolution(SparseModule):
    """Weight, bias and kernel.

    Attributes:
        accelerated: runs through spconv on CUDA, see `core.sparse.spconv.accelerate`.
    """

    accelerated = False

    def __init__(self, dim: int, out_dim: int, kernel: Size, dilation: Size, bias: bool) -> None:
        super().__init__()
        self.dim, self.out_dim = dim, out_dim
        self.kernel = axes(kernel, 3 if isinstance(kernel, int) else len(kernel), "kernel")
        self.dilation = axes(dilation, len(self.kernel), "dilation")
        self.weight = nn.Parameter(torch.empty(out_dim, *self.kernel, dim))
        self.bias = nn.Parameter(torch.empty(out_dim)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform, with the variance of torch's dense convolutions."""
        bound = (self.dim * prod(self.kernel)) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def _is_accelerated(self, x: SparseTensor) -> bool:
        features = x.features
        if features.shape[1] != self.dim:
            raise ValueError(
                f"{type(self).__name__}: {features.shape[1]} channels where {self.dim} are expected; "
                f"build it with dim={features.shape[1]}"
            )
        return self.accelerated and features.is_cuda and len(features) > 0 and features.dtype != torch.float64

    def _convolve(self, x: SparseTensor, pairs: Pairs) -> Tensor:
        return sparse_conv(x.features, self.weight, pairs, self.bias)

    def extra_repr(self) -> str:
        return f"{self.dim}, {self.out_dim}, kernel={self.kernel}, bias={self.bias is not None}"


class SubmanifoldConv(_Convolution):
    """Convolution whose outputs stand at the input's sites (Graham, Engelcke, van der Maaten 2018).

    Args:
        dim, out_dim: channels in and out.
        kernel: odd sizes.
        dilation: distance of two taps.
        bias: add one number a channel.

    Raises:
        ValueError: an even kernel.
    """

    def __init__(self, dim: int, out_dim: int, kernel: Size = 3, *, dilation: Size = 1, bias: bool = True) -> None:
        super().__init__(dim, out_dim, kernel, dilation, bias)
        _check_odd(self.kernel)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Tensor of `dim` channels -> `out_dim` channels at the same sites."""
        if self._is_accelerated(x):
            return _run(self, x)
        return x.replace(self._convolve(x, submanifold_pairs(x.sites, self.kernel, self.dilation)))


class SparseConv(_Convolution):
    """Convolution with stride; an output stands wherever its window holds an occupied place.

    Args:
        dim, out_dim: channels in and out.
        kernel: sizes.
        stride: distance of two outputs.
        padding: empty places around the grid.
        dilation: distance of two taps.
        bias: add one number a channel.
    """

    def __init__(
        self,
        dim: int,
        out_dim: int,
        kernel: Size = 3,
        *,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(dim, out_dim, kernel, dilation, bias)
        self.stride = axes(stride, len(self.kernel), "stride")
        self.padding = axes(padding, len(self.kernel), "padding", 0)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Tensor of `dim` channels -> `out_dim` channels at the sites reached, on the smaller grid."""
        if self._is_accelerated(x):
            return _run(self, x)
        step = strided_pairs(x.sites, self.kernel, self.stride, self.padding, self.dilation)
        return SparseTensor(self._convolve(x, step.pairs), step.sites)


class InverseConv(_Convolution):
    """Back to the sites before a `SparseConv` of the same kernel, over the same pairs (spconv's SparseInverseConv3d).

    Args:
        dim, out_dim: channels in and out.
        kernel, stride, padding, dilation: those of the convolution to be undone.
        bias: add one number a channel.
    """

    def __init__(
        self,
        dim: int,
        out_dim: int,
        kernel: Size = 3,
        *,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(dim, out_dim, kernel, dilation, bias)
        self.stride = axes(stride, len(self.kernel), "stride")
        self.padding = axes(padding, len(self.kernel), "padding", 0)

    def forward(self, x: SparseTensor, like: SparseTensor) -> SparseTensor:  # type: ignore[override]
        """Tensor at the sites of the convolution's output -> at the sites of `like`, its input.

        Raises:
            ValueError: x is not at the sites that the convolution makes of those of `like`.
        """
        step = strided_pairs(like.sites, self.kernel, self.stride, self.padding, self.dilation)
        same = step.sites is x.sites or (step.sites.grid == x.grid and torch.equal(step.sites.coords, x.coords))
        if not same:
            raise ValueError(
                f"InverseConv: {x.sites} are not what kernel {self.kernel} with stride {self.stride} makes of "
                f"{like.sites}; give the tensor that the convolution started from"
            )
        if self._is_accelerated(x):
            return _run(self, x, like)
        return like.replace(self._convolve(x, step.pairs.swapped()))


class TransposedConv(_Convolution):
    """Transposed convolution; an output stands wherever the kernel of an occupied place reaches.

    Args:
        dim, out_dim: channels in and out.
        kernel: sizes.
        stride: distance of two inputs in the output's grid.
        padding: places cut off around the output's grid.
        output_padding: places added behind it.
        dilation: distance of two taps.
        bias: add one number a channel.
    """

    def __init__(
        self,
        dim: int,
        out_dim: int,
        kernel: Size = 3,
        *,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        dilation: Size = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(dim, out_dim, kernel, dilation, bias)
        self.stride = axes(stride, len(self.kernel), "stride")
        self.padding = axes(padding, len(self.kernel), "padding", 0)
        self.output_padding = axes(output_padding, len(self.kernel), "output_padding", 0)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Tensor of `dim` channels -> `out_dim` channels at the sites reached, on the larger grid."""
        if self._is_accelerated(x):
            return _run(self, x)
        step = transposed_pairs(x.sites, self.kernel, self.stride, self.padding, self.output_padding, self.dilation)
        return SparseTensor(self._convolve(x, step.pairs), step.sites)


class SubmanifoldDepthwiseConv(SparseModule):
    """One kernel a channel, outputs at the input's sites; weight (*kernel, dim).

    Args:
        dim: channels.
        kernel: odd sizes; (1, 1, 13) is a line along the last axis.
        dilation: distance of two taps.
        bias: add one number a channel.

    Raises:
        ValueError: an even kernel.
    """

    def __init__(self, dim: int, kernel: Size = 3, *, dilation: Size = 1, bias: bool = False) -> None:
        super().__init__()
        self.dim = dim
        self.kernel = axes(kernel, 3 if isinstance(kernel, int) else len(kernel), "kernel")
        self.dilation = axes(dilation, len(self.kernel), "dilation")
        _check_odd(self.kernel)
        self.weight = nn.Parameter(torch.empty(*self.kernel, dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None
        nn.init.normal_(self.weight, std=prod(self.kernel) ** -0.5)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Tensor of `dim` channels -> the same."""
        pairs = submanifold_pairs(x.sites, self.kernel, self.dilation)
        return x.replace(sparse_depthwise(x.features, self.weight, pairs, self.bias))

    def extra_repr(self) -> str:
        return f"{self.dim}, kernel={self.kernel}, bias={self.bias is not None}"


class _Pool(SparseModule):
    def __init__(self, kernel: Size = 2, *, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        self.kernel = axes(kernel, 3 if isinstance(kernel, int) else len(kernel), "kernel")
        self.stride = self.kernel if stride is None else axes(stride, len(self.kernel), "stride")
        self.padding = axes(padding, len(self.kernel), "padding", 0)

    def _step(self, x: SparseTensor) -> Step:
        return strided_pairs(x.sites, self.kernel, self.stride, self.padding, (1,) * len(self.kernel))


class SparseMaxPool(_Pool):
    """Largest feature of the occupied places in a window; negative features keep their maximum.

    Args:
        kernel: extent of a window.
        stride: distance of two windows; the kernel by default.
        padding: empty places around the grid.
    """

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Tensor -> one of the same channels on the smaller grid."""
        pairs, sites = self._step(x)
        return SparseTensor(sparse_max_pool(x.features, pairs), sites)


class SparseAveragePool(_Pool):
    """Mean of the occupied places in a window; the arguments are those of `SparseMaxPool`."""

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Tensor -> one of the same channels on the smaller grid."""
        pairs, sites = self._step(x)
        return SparseTensor(sparse_average_pool(x.features, pairs), sites)


def _check_odd(kernel: tuple[int, ...]) -> None:
    if any(size % 2 == 0 for size in kernel):
        raise ValueError(f"submanifold convolution: kernel {kernel} has no centre; give odd sizes")
