"""What tokens are: dense grids, ragged sets, their coordinates, and the way from one to the other.

A dense grid is a tensor `(B, *grid, C)` with one to three grid axes (sequence, image, volume) and channels last.
A ragged set is `Ragged(tokens (N, C), offsets (B + 1,), coords (N, D) or None)`: segment b of the batch is
`tokens[offsets[b]:offsets[b + 1]]`; segments may be empty. A mask `(B, *grid)` is boolean, True = real token.

Coordinates are floats: axis i of a grid of length L runs 0, 1, ..., L - 1 (pixel centres). Two grids that meet share
the query grid's frame: centre j of a grid of length `own` stands at (j + 1/2) * L / own - 1/2.
"""

__all__ = ["Ragged", "coordinates", "grid_of", "pack", "pad", "per_token", "unpack", "zero_padding"]

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F


class Ragged(NamedTuple):
    """Token sets of unequal size, one behind the other.

    A named tuple, so that it moves between devices, pickles and passes through `torch.compile` like its tensors.

    Attributes:
        tokens: (N, C), the tokens of all segments.
        offsets: (B + 1,) int64, where each segment starts; the last entry is N.
        coords: (N, D) positions of the tokens, or None.
    """

    tokens: Tensor
    offsets: Tensor
    coords: Tensor | None = None

    @classmethod
    def of(cls, segments: Sequence[Tensor], coords: Sequence[Tensor] | None = None) -> "Ragged":
        """One set out of B tensors (n_b, C), with coordinates (n_b, D) where they are given."""
        lengths = torch.tensor([0] + [len(s) for s in segments], device=segments[0].device)
        return cls(torch.cat(list(segments)), lengths.cumsum(0), None if coords is None else torch.cat(list(coords)))

    @property
    def lengths(self) -> Tensor:
        """(B,) tokens per segment."""
        return self.offsets.diff()

    @property
    def batch(self) -> int:
        """Number of segments B."""
        return len(self.offsets) - 1

    def segments(self) -> list["Ragged"]:
        """The B segments, each a ragged set of its own."""
        ends = self.offsets.tolist()
        return [
            Ragged(
                self.tokens[a:b],
                torch.tensor([0, b - a], device=self.offsets.device),
                None if self.coords is None else self.coords[a:b],
            )
            for a, b in pairwise(ends)
        ]

    def segment_ids(self) -> Tensor:
        """(N,) number of the segment each token belongs to."""
        return torch.repeat_interleave(
            torch.arange(self.batch, device=self.offsets.device), self.lengths, output_size=len(self.tokens)
        )

    def with_tokens(self, tokens: Tensor) -> "Ragged":
        """Other tokens (N, C') at the same places."""
        return self._replace(tokens=tokens)

    def check(self) -> None:
        """Raises ValueError where offsets, tokens and coordinates contradict each other."""
        offsets = self.offsets.tolist()
        if (
            not offsets
            or offsets[0] != 0
            or offsets[-1] != len(self.tokens)
            or any(b < a for a, b in pairwise(offsets))
        ):
            raise ValueError(
                f"Ragged: offsets {offsets} must rise from 0 to the number of tokens ({len(self.tokens)}); "
                "give the start of each segment and the end of the last"
            )
        if self.coords is not None and len(self.coords) != len(self.tokens):
            raise ValueError(
                f"Ragged: {len(self.coords)} coordinates for {len(self.tokens)} tokens; give one row a token"
            )


Tokens = TypeVar("Tokens", Tensor, Ragged)


def per_token(function: Callable[[Tensor], Tensor], x: Tokens) -> Tokens:
    """Apply what treats every token alike (norm, linear, activation) to a grid or to a ragged set."""
    if isinstance(x, Ragged):
        return x.with_tokens(function(x.tokens))
    return function(x)


def grid_of(x: Tensor) -> tuple[int, ...]:
    """The grid of tokens (B, *grid, C).

    Raises:
        ValueError: where x does not have one to three grid axes.
    """
    if not 3 <= x.ndim <= 5:
        raise ValueError(f"tokens have shape {tuple(x.shape)}; give (B, *grid, C) with one to three grid axes")
    return tuple(x.shape[1:-1])


def coordinates(
    grid: Sequence[int],
    *,
    frame: Sequence[int] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Pixel centres (*grid, D) of a grid, in the units of `frame`, the grid it meets (default: its own)."""
    axes = []
    for own, length in zip(grid, frame or grid, strict=True):
        centre = torch.arange(own, device=device, dtype=dtype)
        axes.append(centre if own == length else (centre + 0.5) * (length / own) - 0.5)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def zero_padding(x: Tensor, mask: Tensor | None) -> Tensor:
    """x (B, *grid, C) with 0 where mask (B, *grid) is False, which also makes NaN in padding harmless.

    Raises:
        ValueError: where mask is not a boolean tensor of x's batch and grid.
    """
    if mask is None:
        return x
    if mask.dtype != torch.bool or mask.shape != x.shape[:-1]:
        raise ValueError(
            f"mask has shape {tuple(mask.shape)} and type {mask.dtype}; "
            f"give a boolean mask of shape {tuple(x.shape[:-1])}, True = real token"
        )
    return x.masked_fill(~mask[..., None], 0)


def pack(x: Tensor, mask: Tensor) -> Ragged:
    """The real tokens of a masked grid (B, *grid, C) as a ragged set; its coordinates are those of the grid."""
    places = coordinates(grid_of(x), device=x.device)
    counts = mask.flatten(1).sum(1)
    return Ragged(x[mask], F.pad(counts.cumsum(0), (1, 0)), places.expand(len(x), *places.shape)[mask])


def unpack(x: Ragged, mask: Tensor) -> Tensor:
    """Inverse of `pack`: tokens (B, *grid, C) with those of x where mask (B, *grid) is True, 0 elsewhere."""
    return x.tokens.new_zeros(*mask.shape, x.tokens.shape[-1]).masked_scatter(mask[..., None], x.tokens)


def pad(x: Ragged, length: int | None = None) -> tuple[Tensor, Tensor]:
    """Segments side by side: tokens (B, L, C) filled up with 0, and their mask (B, L).

    Args:
        x: the ragged set.
        length: L; the longest segment by default.

    Raises:
        ValueError: where a segment is longer than `length`.
    """
    lengths = x.lengths
    longest = int(lengths.max()) if x.batch else 0
    if length is not None and length < longest:
        raise ValueError(f"pad: a segment has {longest} tokens and length is {length}; give at least {longest}")
    places = torch.arange(longest if length is None else length, device=x.offsets.device)
    mask = places < lengths[:, None]
    return unpack(x, mask), mask
