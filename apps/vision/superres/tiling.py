"""Images of any size in bounded memory: overlapping tiles, blended without seams.

Tiles start at multiples of twice the attention window, so that windows and shifted windows of a tile lie where they lie
in the whole image; only the last of a row ends where the image ends. Neighbours overlap; the outer quarter of the
overlap on either side is context and thrown away, over the middle half one tile fades into the other. The weights of
an axis are differences of successive ramps r_0 = 1 >= r_1 >= ..., so they add up to one at every pixel:

    w_k = r_k - r_(k+1)

A network of convolutions whose reach is within that quarter gives exactly what it gives on the whole image. What looks
at the whole map (channel attention) sees a tile's mean instead; that is the remaining difference.

The side of a tile follows from a memory budget and from what two small runs of the network (32 and 64 pixels) are
measured to take: on a GPU the allocator's peak, elsewhere the peak of living tensors, plus half for what operators keep
to themselves. Measured on a CPU, what the process grew by on 192x192 pixels: EDSR 324 MB (estimate 500), DLGSANet 218
(243), SwinIR-light 281 (279), DRSformer of width 24 264 (413). SwinIR-light at x2 in tiles of 96 with an overlap of 64
differs from the whole image by 5e-7 of its deviation, with 32 by 2e-5, with 16 by 3e-4 (initial weights).
"""

__all__ = ["Memory", "enlarge", "memory_of", "spans", "weights"]

import copy
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from tqdm.auto import tqdm

from core.errors import UserError

Network = Callable[[Tensor], Tensor]

PROBES = (32, 64)
OPERATORS = 1.5


class Memory(NamedTuple):
    """Bytes of a run at its peak: `fixed + pixel * (pixels of the small image)`."""

    fixed: float
    pixel: float


_measured: WeakKeyDictionary[Any, dict[tuple, Memory]] = WeakKeyDictionary()


def enlarge(
    network: Network,
    lr: Tensor,
    scale: int,
    *,
    tile: int | None = None,
    overlap: int = 64,
    multiple: int = 32,
    memory_mb: float | None = None,
    progress: str | None = None,
) -> Tensor:
    """One image through the network, whole if it fits, else in tiles.

    Args:
        network: (1, C, h, w) -> (1, C, s h, s w) for any h and w; a module or anything that calls one.
        lr: (1, C, H, W) in [0, 1].
        scale: s.
        tile: largest side of a tile in pixels of `lr`; from `memory_mb` if not given.
        overlap: pixels shared by neighbours; more is closer to the untiled result.
        multiple: tiles start at multiples of it: twice the window of attention.
        memory_mb: what one run of the network may take; no tiles if neither this nor `tile` is given.
        progress: name of a progress bar, shown when it takes more than two seconds.

    Returns:
        (1, C, s H, s W), float32, where `lr` is.

    Raises:
        ValueError: not one image; sizes that do not fit each other.
        UserError: the network gives NaN even in float32.
    """
    if lr.dim() != 4 or len(lr) != 1 or 0 in lr.shape:
        raise ValueError(f"enlarge: expected one image (1, C, H, W), got {tuple(lr.shape)}.")
    if overlap < 0 or multiple < 1 or (tile is not None and tile < 1):
        raise ValueError(f"enlarge: tile {tile}, overlap {overlap} and multiple {multiple} must be positive.")
    height, width = lr.shape[2:]
    least = -(-(overlap + 1) // multiple) * multiple
    with torch.no_grad():
        if tile is None:
            tile = max(height, width) if memory_mb is None else _side(network, lr, memory_mb, multiple, least)
        tile = max(least, tile // multiple * multiple) if max(height, width) > tile else max(height, width)
        rows, columns = (spans(n, tile, overlap, multiple) for n in (height, width))
        if len(rows) == len(columns) == 1:
            return _finite(network, lr)
        across = [w.to(lr.device) for w in weights(columns, overlap, scale)]
        down = [w.to(lr.device)[:, None] for w in weights(rows, overlap, scale)]
        out = lr.new_zeros(1, lr.shape[1], height * scale, width * scale, dtype=torch.float32)
        with tqdm(total=len(rows) * len(columns), desc=progress, delay=2, leave=False, disable=progress is None) as bar:
            for (top, bottom), w_y in zip(rows, down, strict=True):
                for (left, right), w_x in zip(columns, across, strict=True):
                    made = _finite(network, lr[:, :, top:bottom, left:right])
                    place = out[:, :, scale * top : scale * bottom, scale * left : scale * right]
                    if made.shape != place.shape:
                        raise ValueError(
                            f"enlarge: the network made {tuple(made.shape)} of a tile of {right - left}x{bottom - top} "
                            f"pixels, scale {scale} needs {tuple(place.shape)}."
                        )
                    place += made * (w_y * w_x)
                    bar.update()
    return out


def spans(length: int, tile: int, overlap: int, multiple: int) -> list[tuple[int, int]]:
    """[start, end) of the tiles along an axis: starts at multiples, neighbours share at least `overlap` pixels.

    Raises:
        ValueError: a tile that is not larger than the overlap.
    """
    if tile >= length:
        return [(0, length)]
    step = (tile - overlap) // multiple * multiple
    if step < 1:
        raise ValueError(f"spans: a tile of {tile} pixels leaves no step of {multiple} beside an overlap of {overlap}.")
    last = -(-(length - tile) // multiple) * multiple
    return [(start, min(start + tile, length)) for start in [*range(0, last, step), last]]


def weights(tiles: list[tuple[int, int]], overlap: int, scale: int) -> list[Tensor]:
    """float32 weights of each tile's enlarged pixels along an axis; over all tiles they add up to 1 everywhere."""
    length = tiles[-1][1]
    place = torch.arange(length * scale, dtype=torch.float64) + 0.5
    ramps = [torch.ones_like(place)]
    for (_, end), (start, _) in pairwise(tiles):
        centre, ramp = scale * (start + end) / 2, max(1.0, scale * overlap / 2)
        ramps.append(((place - centre) / ramp + 0.5).clamp(0, 1))
    ramps.append(torch.zeros_like(place))
    whole = [a - b for a, b in pairwise(ramps)]
    return [w[scale * start : scale * end].float() for w, (start, end) in zip(whole, tiles, strict=True)]


@torch.no_grad()
def memory_of(network: Network, lr: Tensor) -> Memory:
    """What runs of the network take at their peak, measured once a network on small pieces of the kind of `lr`."""
    known = _measured.setdefault(getattr(network, "network", network), {})
    probe = _typed(network, torch.rand(1, lr.shape[1], PROBES[1], PROBES[1], device=lr.device, dtype=lr.dtype))
    kind = (type(network), probe.device, probe.dtype, torch.is_autocast_enabled(probe.device.type))
    if kind not in known:
        small, large = PROBES[0] ** 2, PROBES[1] ** 2
        # The first run also makes what a network prepares once, masks and merged weights.
        _, low, high = (_peak(network, probe[:, :, :n, :n]) for n in (PROBES[0], *PROBES))
        pixel = (high - low) / (large - small)
        known[kind] = Memory(high - pixel * large, pixel) if 0 < pixel * large <= high else Memory(0.0, high / large)
    return known[kind]


def _peak(network: Network, x: Tensor) -> float:
    if x.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(x.device)
        before = torch.cuda.memory_allocated(x.device)
        network(x)
        return float(torch.cuda.max_memory_allocated(x.device) - before)
    with _Living() as living:
        network(x)
    return OPERATORS * living.peak


class _Living(TorchDispatchMode):
    """The largest sum of the bytes of tensors that live at one time, made while the mode is on."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._known: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                self._known[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._known = {key: entry for key, entry in self._known.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._known.values()))
        return result


def _side(network: Network, lr: Tensor, memory_mb: float, multiple: int, least: int) -> int:
    """Largest side of a tile that stays within the budget."""
    height, width = lr.shape[2:]
    if max(height, width) <= PROBES[1]:
        return max(height, width)
    memory = memory_of(network, lr)
    room = max(0.0, (memory_mb * 2**20 - memory.fixed) / memory.pixel)
    # What the network pads counts, so whole multiples are compared.
    if (height + -height % multiple) * (width + -width % multiple) <= room:
        return max(height, width)
    side = int(room**0.5) // multiple * multiple
    if side < least:
        needed = (memory.fixed + least**2 * memory.pixel) / 2**20
        warnings.warn(
            f"a tile of {least} pixels needs about {needed:.0f} MB, more than the {memory_mb:g} MB allowed; it is used "
            "all the same.",
            stacklevel=3,
        )
    return max(side, least)


def _module(network: Network) -> nn.Module | None:
    inner = getattr(network, "network", network)
    return inner if isinstance(inner, nn.Module) else None


def _typed(network: Network, x: Tensor) -> Tensor:
    """In the precision of the network's weights."""
    module = _module(network)
    weight = next((p for p in module.parameters() if p.is_floating_point()), None) if module is not None else None
    return x if weight is None else x.to(weight.dtype)


def _finite(network: Network, x: Tensor) -> Tensor:
    """The network's result in float32; run again in full precision if half precision overflowed."""
    made = network(_typed(network, x)).float()
    if bool(made.isfinite().all()):
        return made
    module = _module(network)
    with torch.autocast(x.device.type, enabled=False):
        if module is not None and any(p.dtype in (torch.float16, torch.bfloat16) for p in module.parameters()):
            exact = copy.deepcopy(module).float()
            again = exact if network is module else type(network)(exact)  # type: ignore[call-arg]
            made = again(x.float())
        else:
            made = network(x.float())
    if not bool(made.isfinite().all()):
        raise UserError(
            "the network gives NaN or infinite pixels, in float32 too; its weights or the image are broken: train "
            "again with a lower learning rate, or take another checkpoint."
        )
    return made.float()
