"""Random patches of images as batches, each draw depending on (seed, index) alone.

Sample n of a run: an image, drawn in proportion to its area, a place in it, one of the eight flips and turns. The
low-resolution image is made once from the WHOLE original, so a patch holds the same pixels as the protocol's images.
Small sets stay in memory (`Memory`, both sizes as uint8 planes); of larger ones the original is decoded for every
sample and the patch made from a crop with a margin, which gives the same bytes (`Files`).

The batch is written in place, one strided copy an image: 16 patches of 24 -> 96 pixels take 1.0 ms on one thread,
where stacking augmented float tensors sample by sample takes 2 to 3 ms.
"""

__all__ = ["Crops", "Files", "Memory", "Store", "as_is"]

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from core.errors import UserError
from core.training.draws import generator

from .degradation import Degradation
from .pairs import Item, Pair, make_pair, shrink

Batch = dict[str, Tensor]
Planes = NDArray[np.uint8]

# Low-resolution pixels beyond a crop that its bicubic shrinking looks at: the kernel reaches 2, and half a pixel.
MARGIN = 3


def as_is(batch: Batch) -> Batch:
    """The `collate_fn` for a loader over `Crops`, which makes whole batches itself."""
    return batch


class Store:
    """Base class: images of which patches are cut, `sizes` (N, 2) their low-resolution sizes (h, w)."""

    sizes: NDArray[np.int64]

    def cut(self, image: int, top: int, left: int, height: int, width: int) -> tuple[Planes, Planes]:
        """A patch (3, h, w) and its original (3, s h, s w), place and size in low-resolution pixels."""
        raise TypeError(f"{type(self).__name__} must define cut")


class Memory(Store):
    """Decoded pairs.

    Args:
        pairs: both sizes of each image.
    """

    def __init__(self, pairs: Sequence[Pair]):
        self.planes = [(_planes(pair.lr), _planes(pair.hr)) for pair in pairs]
        self.sizes = np.array([lr.shape[1:] for lr, _ in self.planes])

    def cut(self, image: int, top: int, left: int, height: int, width: int) -> tuple[Planes, Planes]:
        lr, hr = self.planes[image]
        s = hr.shape[1] // lr.shape[1]
        box = (slice(None), slice(s * top, s * (top + height)), slice(s * left, s * (left + width)))
        return lr[:, top : top + height, left : left + width], hr[box]


class Files(Store):
    """Images decoded at every draw.

    Args:
        items: of a source.
        scale: between the sizes.
    """

    def __init__(self, items: Sequence[Item], scale: int):
        self.items, self.scale = items, scale
        self.sizes = np.array([item.size() for item in items]) // scale

    def cut(self, image: int, top: int, left: int, height: int, width: int) -> tuple[Planes, Planes]:
        item, s = self.items[image], self.scale
        if getattr(item, "lr_path", None) is not None:
            return Memory([make_pair(item, s)]).cut(0, top, left, height, width)
        hr, gray = item.original()
        h, w = self.sizes[image]
        up, before = min(top, MARGIN), min(left, MARGIN)
        bottom, right = min(h, top + height + MARGIN), min(w, left + width + MARGIN)
        wide = hr[s * (top - up) : s * bottom, s * (left - before) : s * right]
        lr = shrink(wide, s, gray)[up : up + height, before : before + width]
        original = wide[s * up : s * (up + height), s * before : s * (before + width)]
        return lr.transpose(2, 0, 1), original.transpose(2, 0, 1)


class Crops(Dataset[Batch]):
    """Endless random patches; sample n is a function of (seed, n).

    Gives `lr` (B, 3, p, p) and `hr` (B, 3, s p, s p), float32 in [0, 1].

    Args:
        store: the images.
        patch: p, side in low-resolution pixels.
        scale: s.
        seed: of the run.
        degradation: makes the low-resolution side from the original patch instead of bicubic.
        shuffle_colours: red, green and blue in any order.

    Raises:
        UserError: every image is smaller than a patch.
    """

    def __init__(
        self,
        store: Store,
        patch: int,
        scale: int,
        seed: int = 0,
        degradation: Degradation | None = None,
        shuffle_colours: bool = False,
    ) -> None:
        if patch < 1:
            raise UserError(f"--data.patch {patch}: must be at least 1.")
        self.store, self.patch, self.scale, self.seed, self.degradation = store, patch, scale, seed, degradation
        self.shuffle_colours = shuffle_colours
        fits = (store.sizes >= patch).all(1)
        if not fits.any():
            side = int(store.sizes.min(1).max())
            raise UserError(
                f"--data.patch {patch}: the training images are smaller than {patch * scale} pixels; use --data.patch "
                f"{side} or less, or larger images."
            )
        if not fits.all():
            warnings.warn(
                f"{int((~fits).sum())} of {len(fits)} training images are smaller than a patch of {patch * scale} "
                "pixels and are left out; a smaller --data.patch would use them.",
                stacklevel=2,
            )
        area = np.where(fits, store.sizes.prod(1), 0)
        self._shares = area.cumsum() / area.sum()

    def __getitem__(self, index: int) -> Batch:
        """One sample, without the batch axis."""
        return {name: value[0] for name, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The samples of these numbers as one batch; loaders call this and need `collate_fn=as_is`."""
        p, s = self.patch, self.scale
        lr, hr = np.empty((len(indices), 3, p, p), np.uint8), np.empty((len(indices), 3, s * p, s * p), np.uint8)
        for n, index in enumerate(indices):
            small, large = self._sample(generator(self.seed, index))
            lr[n], hr[n] = small, large
        return {"lr": _floats(lr), "hr": _floats(hr)}

    def _sample(self, rng: np.random.Generator) -> tuple[Planes, Planes]:
        # One call for four numbers: most of the time of a sample is NumPy's entry.
        which, down, right, turn = rng.random(4)
        image = int(np.searchsorted(self._shares, which, side="right"))
        h, w = self.store.sizes[image]
        around = self.degradation.margin if self.degradation else 0
        height, width = min(h, self.patch + 2 * around), min(w, self.patch + 2 * around)
        top, left = int(down * (h - height + 1)), int(right * (w - width + 1))
        lr, hr = self.store.cut(image, top, left, height, width)
        if self.degradation:
            lr, hr = self._degraded(hr, rng)
        if self.shuffle_colours:
            order = rng.permutation(3)
            lr, hr = lr[order], hr[order]
        return _turned(lr, int(8 * turn)), _turned(hr, int(8 * turn))

    def _degraded(self, hr: Planes, rng: np.random.Generator) -> tuple[Planes, Planes]:
        """The middle of the degraded patch: filters and JPEG look over its edge."""
        assert self.degradation is not None
        p, s = self.patch, self.scale
        small, large = self.degradation(hr.transpose(1, 2, 0), s, rng)
        top, left = (small.shape[0] - p) // 2, (small.shape[1] - p) // 2
        small = small[top : top + p, left : left + p]
        large = large[s * top : s * (top + p), s * left : s * (left + p)]
        return small.transpose(2, 0, 1), large.transpose(2, 0, 1)


def _turned(x: Planes, turn: int) -> Planes:
    """One of the eight flips and turns of (3, p, p), a view; the same for both sizes."""
    if turn & 1:
        x = x[:, ::-1]
    if turn & 2:
        x = x[:, :, ::-1]
    return x.transpose(0, 2, 1) if turn & 4 else x


def _planes(pixels: NDArray[np.uint8]) -> Planes:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _floats(values: Planes) -> Tensor:
    return torch.from_numpy(values).float().div_(255)
