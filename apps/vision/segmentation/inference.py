"""From a network to class maps: whole images or sliding windows, mirrored and at several scales, in bounded memory.

    windows     starts 0, stride, 2 stride ... and the last where the image ends; an image smaller than the window is
                one smaller window. Where windows overlap the mean of their scores counts
    views       scales times mirrored or not: the mean of their probabilities counts (one view: its scores)
    labels      scores are resized bilinearly to the size of the labels, then the largest is taken

Scores of windows are added into the slice that they cover, rows are finished and reduced to classes as soon as no
window to come reaches them, and the largest score is found without a softmax: 150 classes of 512 x 1024 pixels need a
third of the time of padding every window to the whole image, and memory for a strip of the window's height. If that
strip is above the budget, too, the image is cut into columns; windows on a cut then run twice.

Windows of a network that looks at everything it gets see less than the whole image, and at a scale it was not trained
for less well: the window should be the training crop.
"""

__all__ = ["Windows", "class_map", "scores", "starts"]

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import UserError

Network = Callable[[Tensor], Any]

# Rows that are resized and reduced at once.
STRIP_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Windows:
    """Sizes of sliding windows.

    Args:
        size: height and width.
        stride: from one to the next, down and across; at most the size.
    """

    size: tuple[int, int]
    stride: tuple[int, int]

    def __post_init__(self) -> None:
        if min(self.stride) < 1 or any(step > side for step, side in zip(self.stride, self.size, strict=True)):
            raise UserError(f"Windows: stride {self.stride} must be 1 to the size {self.size}.")


def starts(length: int, size: int, stride: int) -> list[int]:
    """Of the windows along an axis."""
    return [*range(0, max(0, length - size), stride), max(0, length - size)]


@torch.no_grad()
def scores(network: Network, image: Tensor, windows: Windows | None = None) -> Tensor:
    """Scores of one image.

    Args:
        network: (1, 3, h, w) to (1, K, h, w), or to something that has them as `main`.
        image: (1, 3, H, W).
        windows: whole if not given.

    Returns:
        (1, K, H, W), float32.
    """
    _one(image)
    if windows is None:
        return _run(network, image)
    return torch.cat(list(_blocks(network, image, windows, 0, image.shape[3], mean=True)), 2)


@torch.no_grad()
def class_map(
    network: Network,
    image: Tensor,
    windows: Windows | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    size: tuple[int, int] | None = None,
    memory_mb: float | None = None,
) -> Tensor:
    """Classes of one image.

    Args:
        network: (1, 3, h, w) to (1, K, h, w), or to something that has them as `main`.
        image: (1, 3, H, W).
        windows: whole if not given.
        scales: of the image in each view.
        flip: look at the mirrored image, too.
        size: height and width of the labels; the image's by default.
        memory_mb: what scores that wait for other windows may take, with one view at its own size. Several views add
            up probabilities, which takes 4 K H W bytes.

    Returns:
        (H, W) int64, on the image's device.
    """
    _one(image)
    height, width = image.shape[2:]
    size = (height, width) if size is None else (size[0], size[1])
    if not scales or min(scales) <= 0:
        raise ValueError(f"class_map: scales {tuple(scales)} must be one or more positive numbers.")
    if windows is not None and len(scales) == 1 and scales[0] == 1 and not flip and size == (height, width):
        return _sliding(network, image, windows, memory_mb)
    single = len(scales) == 1 and not flip
    total: Tensor | None = None
    for scale in scales:
        shape = [max(1, round(side * scale)) for side in (height, width)]
        view = image
        if shape != [height, width]:
            view = F.interpolate(image, shape, mode="bilinear", align_corners=False, antialias=scale < 1)
        for mirrored in (False, True) if flip else (False,):
            found = scores(network, view.flip(3) if mirrored else view, windows)
            found = found.flip(3) if mirrored else found
            if single:
                return torch.cat([part.argmax(1)[0] for _, part in _strips(found, size)])
            if total is None:
                total = found.new_zeros(1, found.shape[1], *size)
            for top, part in _strips(found, size):
                total[:, :, top : top + part.shape[2]] += part.softmax(1)
    assert total is not None
    return total.argmax(1)[0]


def _sliding(network: Network, image: Tensor, windows: Windows, memory_mb: float | None) -> Tensor:
    height, width = image.shape[2:]
    parts = 1
    if memory_mb is not None:
        high, wide = min(windows.size[0], height), min(windows.size[1], width)
        classes = _run(network, image[:, :, :high, :wide]).shape[1]
        needed = 4 * classes * high * width
        # Strips narrower than a stride would only run the same windows again.
        parts = min(max(1, -(-needed // max(1, int(memory_mb * 2**20)))), max(1, width // windows.stride[1]))
    edges = [round(width * n / parts) for n in range(parts + 1)]
    columns = []
    for left, right in pairwise(edges):
        rows = [block.argmax(1)[0] for block in _blocks(network, image, windows, left, right, mean=False)]
        columns.append(torch.cat(rows))
    return torch.cat(columns, 1)


def _blocks(network: Network, image: Tensor, windows: Windows, left: int, right: int, mean: bool) -> Iterator[Tensor]:
    """Finished rows of the columns left .. right, (1, K, rows, right - left), from top to bottom.

    Sums, which have the same largest class, unless the mean is asked for.
    """
    height, width = image.shape[2:]
    high, wide = min(windows.size[0], height), min(windows.size[1], width)
    tops = starts(height, high, windows.stride[0])
    across = [s for s in starts(width, wide, windows.stride[1]) if s < right and s + wide > left]
    counts = _counts(tops, high, height, image)[:, None] * _counts(across, wide, width, image)[left:right]
    waiting: Tensor | None = None
    for top, following in zip(tops, [*tops[1:], height], strict=True):
        fresh = 0 if waiting is None else waiting.shape[2]
        for start in across:
            made = _run(network, image[:, :, top : top + high, start : start + wide])
            if waiting is None or waiting.shape[2] < high:
                # Rows that no window before has reached begin at zero.
                more = made.new_zeros(1, made.shape[1], high - fresh, right - left)
                waiting = more if waiting is None else torch.cat([waiting, more], 2)
            first, end = max(left, start), min(right, start + wide)
            waiting[:, :, :, first - left : end - left] += made[:, :, :, first - start : end - start]
        assert waiting is not None
        done = waiting[:, :, : following - top]
        yield done / counts[top:following] if mean else done
        waiting = waiting[:, :, following - top :]


def _counts(begins: list[int], size: int, length: int, like: Tensor) -> Tensor:
    """(length,): how many windows reach each place."""
    counts = torch.zeros(length, device=like.device)
    for begin in begins:
        counts[begin : begin + size] += 1
    return counts


def _strips(maps: Tensor, size: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
    """First row and (1, K, rows, width) of maps resized bilinearly to `size`, a strip at a time."""
    height, width = maps.shape[2:]
    rows = max(1, STRIP_BYTES // (4 * maps.shape[1] * max(size[1], width)))
    for top in range(0, size[0], rows):
        bottom = min(size[0], top + rows)
        if size[0] == height:
            part = maps[:, :, top:bottom]
        else:
            place = ((torch.arange(top, bottom, device=maps.device) + 0.5) * (height / size[0]) - 0.5).clamp(min=0)
            low = place.long().clamp(max=height - 1)
            share = (place - low).to(maps)[:, None]
            part = torch.lerp(maps[:, :, low], maps[:, :, (low + 1).clamp(max=height - 1)], share)
        if size[1] != width:
            part = F.interpolate(part, (part.shape[2], size[1]), mode="bilinear", align_corners=False)
        yield top, part


def _run(network: Network, x: Tensor) -> Tensor:
    made = network(x)
    found: Any = getattr(made, "main", made)
    if found.dim() != 4 or found.shape[2:] != x.shape[2:]:
        raise ValueError(
            f"inference: the network made {tuple(found.shape)} of an image {tuple(x.shape)}; scores must have its size."
        )
    return found.float()


def _one(image: Tensor) -> None:
    if image.dim() != 4 or len(image) != 1 or 0 in image.shape:
        raise ValueError(f"inference: expected one image (1, 3, H, W), got {tuple(image.shape)}.")
