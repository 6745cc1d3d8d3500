"""spconv (Yan; `spconv.pytorch` 2.3) behind the modules here: the same modules and weights, its kernels on CUDA.

    accelerate(network)            runs the convolutions of a network through spconv wherever its features are on CUDA
    to_spconv, from_spconv         sparse tensors
    module_to_spconv, module_from_spconv    single convolutions with copies of their weights

Its weights are laid out (out, *kernel, in), as here, and its rows come in any order; `run` brings them into the order
of the sites. Coordinates are int32 there. Depthwise convolutions and pooling stay as they are.

Decided: off unless asked for, and on CUDA alone. On a CPU spconv sums in parallel without protection (with two threads
one call in five is wrong by 3e-3), has no backward pass, refuses biases outside of training and takes empty places for
0 in maxima. What it cannot do on CUDA either goes the way of plain torch: float64, and tensors without sites.
bfloat16 is computed in float32, because spconv has none and float16 would overflow.
"""

__all__ = ["accelerate", "from_spconv", "module_from_spconv", "module_to_spconv", "run", "to_spconv"]

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from core.errors import UserError
from core.sparse.convolution import InverseConv, SparseConv, SubmanifoldConv, TransposedConv
from core.sparse.tensor import Sites, SparseTensor

if TYPE_CHECKING:
    from spconv.pytorch import SparseConvTensor

Convolution = SubmanifoldConv | SparseConv | InverseConv | TransposedConv


def accelerate(network: nn.Module, on: bool = True) -> int:
    """Lets every convolution of a network run through spconv on CUDA, or not any more; returns how many there are.

    Raises:
        UserError: spconv with CUDA kernels is not installed, or no GPU is there.
    """
    if on:
        _check_installed()
    found = [module for module in network.modules() if isinstance(module, Convolution)]
    for module in found:
        module.accelerated = on
    return len(found)


def to_spconv(x: SparseTensor) -> "SparseConvTensor":
    """The same features and sites as a tensor of spconv.

    Raises:
        UserError: spconv is not installed.
    """
    return _spconv().SparseConvTensor(x.features, x.coords.int().contiguous(), list(x.grid), x.batch_size)


def from_spconv(x: "SparseConvTensor") -> SparseTensor:
    """A tensor of spconv with its rows sorted; `sites.restore` returns rows to its order."""
    return SparseTensor.of(x.features, x.indices, x.spatial_shape, x.batch_size)


def module_to_spconv(conv: Convolution, indice_key: str | None = None) -> nn.Module:
    """A module of spconv with a copy of the weights.

    Args:
        conv: ours.
        indice_key: spconv's name of pairs that layers share; an inverse convolution needs that of the one it undoes.

    Raises:
        UserError: spconv is not installed.
        ValueError: an inverse convolution without a name.
    """
    if isinstance(conv, InverseConv) and indice_key is None:
        raise ValueError("spconv's inverse convolution needs the indice_key of the convolution that it undoes; give it")
    module = _make(_sizes(conv), conv.bias is not None, indice_key, "cpu").to(conv.weight)
    with torch.no_grad():
        for name, value in conv.named_parameters():
            getattr(module, name).copy_(value)
    return module


def module_from_spconv(module: nn.Module) -> Convolution:
    """Ours with a copy of the weights of a convolution of spconv.

    An inverse convolution does not know its stride, padding and dilation; they are read as 1, 0 and 1: set `stride`,
    `padding` and `dilation` to those of the convolution that it undoes.

    Raises:
        ValueError: not a convolution of spconv.
    """
    theirs: Any = module
    if not isinstance(module, _spconv().conv.SparseConvolution):
        raise ValueError(f"{type(module).__name__} is not a convolution of spconv; give one")
    sizes = {"dilation": tuple(theirs.dilation), "bias": theirs.bias is not None}
    cls: Any = SubmanifoldConv
    if not theirs.subm:
        cls = InverseConv if theirs.inverse else TransposedConv if theirs.transposed else SparseConv
        sizes |= {"stride": tuple(theirs.stride), "padding": tuple(theirs.padding)}
    if cls is TransposedConv:
        sizes["output_padding"] = tuple(theirs.output_padding)
    conv = cls(theirs.in_channels, theirs.out_channels, tuple(theirs.kernel_size), **sizes).to(theirs.weight)
    with torch.no_grad():
        for name, value in module.named_parameters():
            getattr(conv, name).copy_(value)
    return conv


class _Laid(NamedTuple):
    """What spconv made of some sites, for the way back.

    Attributes:
        pairs: its own record of the pairs, by name.
        indices: its output sites in its order.
        order: its row of each row here.
        sites: the same sites here.
    """

    pairs: dict
    indices: Tensor
    order: Tensor
    sites: Sites


def run(conv: Convolution, x: SparseTensor, like: SparseTensor | None = None) -> SparseTensor:
    """The convolution by spconv's kernels, rows in the order here.

    Args:
        conv: its kernel and weights are used.
        x: at least one site.
        like: the tensor that an inverse convolution goes back to.
    """
    kind = x.features.device.type
    asked = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.features.dtype
    dtype = torch.float16 if asked == torch.float16 else torch.float32
    features, weight = x.features.to(dtype).contiguous(), conv.weight.to(dtype)
    wanted = torch.is_grad_enabled() and (features.requires_grad or weight.requires_grad)
    key = f"{conv.kernel} {conv.dilation} {wanted}"
    pairs: dict = {}
    if isinstance(conv, SubmanifoldConv):
        pairs = x.sites.plan("spconv", dict)
        given, indices = features, x.sites.plan("spconv indices", lambda: x.coords.int().contiguous())
    elif isinstance(conv, InverseConv):
        assert like is not None
        laid = like.sites.plan(("spconv", *_strides(conv), wanted), lambda: _lay(conv, like, wanted))
        pairs, indices, key = laid.pairs, laid.indices, next(iter(laid.pairs))
        given = torch.empty_like(features).index_copy(0, laid.order, features)
    else:
        given, indices = features, x.sites.plan("spconv indices", lambda: x.coords.int().contiguous())
    tensor = _spconv().SparseConvTensor(given, indices, list(x.grid), x.batch_size, indice_dict=dict(pairs))
    module = _module(_sizes(conv), key, wanted)
    with torch.autocast(kind, enabled=False):
        y = torch.func.functional_call(module, {"weight": weight}, (tensor,))
        result, sites = y.features, x.sites
        if isinstance(conv, SubmanifoldConv):
            pairs.update(y.indice_dict)
        elif isinstance(conv, InverseConv):
            assert like is not None
            sites = like.sites
        else:
            laid = _sorted(y, x.sites.batch_size)
            result = result[laid.order]
            sites = x.sites.plan(("spconv", type(conv), *_strides(conv)), lambda: laid).sites
        if conv.bias is not None:
            result = result + conv.bias.to(dtype)
    return SparseTensor(result.to(asked), sites)


def _lay(conv: InverseConv, like: SparseTensor, wanted: bool) -> _Laid:
    """The pairs of the convolution that an inverse one undoes, made by one without weights."""
    sizes = _sizes(conv)._replace(dim=conv.out_dim, out_dim=conv.dim, inverse=False)
    values = torch.zeros(len(like.sites), conv.out_dim, device=like.sites.device)
    weight = torch.zeros(conv.dim, *conv.kernel, conv.out_dim, device=like.sites.device)
    tensor = to_spconv(like.replace(values))
    return _sorted(
        torch.func.functional_call(_module(sizes, "forth", wanted), {"weight": weight}, (tensor,)), like.batch_size
    )


def _sorted(y: "SparseConvTensor", batch_size: int) -> _Laid:
    sites = Sites.of(y.indices, y.spatial_shape, batch_size)
    order = torch.arange(len(sites), device=sites.device) if sites.order is None else sites.order
    return _Laid(y.indice_dict, y.indices, order, Sites(sites.coords, sites.grid, batch_size))


def _strides(conv: Any) -> tuple:
    return conv.kernel, conv.stride, conv.padding, conv.dilation, getattr(conv, "output_padding", None)


class _Sizes(NamedTuple):
    """What makes a module of spconv."""

    dim: int
    out_dim: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    subm: bool
    transposed: bool
    inverse: bool


def _sizes(conv: Any) -> _Sizes:
    rank = len(conv.kernel)
    return _Sizes(
        conv.dim,
        conv.out_dim,
        conv.kernel,
        getattr(conv, "stride", (1,) * rank),
        getattr(conv, "padding", (0,) * rank),
        conv.dilation,
        getattr(conv, "output_padding", (0,) * rank),
        isinstance(conv, SubmanifoldConv),
        isinstance(conv, TransposedConv),
        isinstance(conv, InverseConv),
    )


def _make(sizes: _Sizes, bias: bool, key: str | None, device: str) -> nn.Module:
    lists = {name: list(size) for name, size in sizes._asdict().items() if isinstance(size, tuple)}
    return _spconv().conv.SparseConvolution(
        len(sizes.kernel),
        sizes.dim,
        sizes.out_dim,
        lists.pop("kernel"),
        **lists,
        subm=sizes.subm,
        transposed=sizes.transposed,
        inverse=sizes.inverse,
        bias=bias,
        indice_key=key,
        device=device,
    )


@lru_cache(maxsize=256)
def _module(sizes: _Sizes, key: str, training: bool) -> nn.Module:
    """A module without weights of its own, for all layers of the same sizes."""
    return _make(sizes, False, key, "meta").train(training)


def _spconv() -> Any:
    try:
        import spconv.pytorch
    except ImportError:
        raise UserError(
            "spconv is not installed; install the build of your CUDA version, such as spconv-cu126."
        ) from None
    return spconv.pytorch


def _check_installed() -> None:
    _spconv()
    from spconv.cppconstants import CPU_ONLY_BUILD

    if CPU_ONLY_BUILD or not torch.cuda.is_available():
        what = "is a build without CUDA" if CPU_ONLY_BUILD else "finds no GPU"
        raise UserError(
            f"spconv {what}, and its CPU kernels are not reliable; install the build of your CUDA version, such as "
            "spconv-cu126, or leave the convolutions as they are."
        )
