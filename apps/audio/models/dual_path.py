"""The mask network of dual-path separators (Luo et al. 2020), as SpeechBrain has it: frames in chunks that overlap by
half are mixed within a chunk, then across chunks at the same place.

    x = chunks of W_in norm(E)                                 S chunks of K frames, one every K / 2
    x = x + norm(intra(x)),   x = x + norm(inter(x))           in every block
    x = overlap-add of prelu(x)
    masks_s = relu(W_out (tanh(W_t x_s + b_t) * sigmoid(W_g x_s + b_g))),    x_s = part s of W_s x + 2 b_s

Shapes: frames (B, T, channels) -> masks (B, T, speakers, channels); chunks (B, S, K, dim).  The norms are over all
chunks, frames and channels of a clip; K / 2 frames of silence stand in front, and behind it up to the end of the chunk
in which the silence after the last frame begins, so that every frame lies in two chunks.

Decided: a clip has the chunks in a batch that it has alone; those behind them are left out of norms, of mixing within
chunks and of mixing across.  The linear layer of the speakers stands behind the sum of the two chunks, not in front of
it, which halves its work and is the reason for the factor 2 of its bias.
"""

__all__ = ["DualPathBlock", "DualPathMasks", "count_chunks", "cut_chunks", "join_chunks"]

from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.norms import GlobalNorm

Count = TypeVar("Count", int, Tensor)


class DualPathBlock(nn.Module):
    """Mixing within chunks, then across them, each with a norm and a residual.

    Args:
        dim: width of the frames.
        intra, inter: any mixers of sequences (B, T, dim) that take a mask; the first is only given whole chunks.
    """

    def __init__(self, dim: int, intra: nn.Module, inter: nn.Module) -> None:
        super().__init__()
        self.intra, self.intra_norm = intra, GlobalNorm(dim)
        self.inter, self.inter_norm = inter, GlobalNorm(dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, S, K, dim), mask of chunks (B, S)."""
        size = x.shape[2]
        frames = None if mask is None else mask.repeat_interleave(size, 1)
        if mask is None:
            y = self.intra(x.flatten(0, 1)).view_as(x)
        else:
            real = self.intra(x[mask])
            y = real.new_zeros(x.shape).masked_scatter(mask[..., None, None], real)
        x = x + self.intra_norm(y.flatten(1, 2), frames).view_as(x)
        # One sequence of chunks for every place in a chunk.
        across = x.transpose(1, 2).flatten(0, 1)
        y = self.inter(across, mask=None if mask is None else mask.repeat_interleave(size, 0))
        y = y.unflatten(0, (-1, size)).transpose(1, 2)
        return x + self.inter_norm(y.flatten(1, 2), frames).view_as(x)


class DualPathMasks(nn.Module):
    """Masks (B, T, S, channels) from frames (B, T, channels).

    Args:
        channels: width of the frames.
        dim: width inside.
        blocks: called with chunks (B, S, K, dim) and their mask (B, S), `DualPathBlock`s as published.
        chunk: K, frames of a chunk; even.
        speakers: S.

    Raises:
        ValueError: for an odd chunk.
    """

    def __init__(
        self, channels: int, dim: int, blocks: Iterable[nn.Module], *, chunk: int = 250, speakers: int = 2
    ) -> None:
        super().__init__()
        if chunk < 2 or chunk % 2:
            raise ValueError(f"DualPathMasks: chunk {chunk}; give an even number of frames, chunks overlap by half")
        self.dim, self.chunk, self.speakers = dim, chunk, speakers
        self.norm = GlobalNorm(channels)
        self.enter = nn.Linear(channels, dim, bias=False)
        self.blocks = nn.ModuleList(blocks)
        self.slope = nn.Parameter(torch.full((1,), 0.25))
        self.split = nn.Linear(dim, speakers * dim)
        self.gates = nn.Linear(dim, 2 * dim)
        self.leave = nn.Linear(dim, channels, bias=False)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """frames (B, T, channels), mask (B, T) of their real beginnings."""
        real = None
        if mask is not None:
            counts = count_chunks(mask.sum(1), self.chunk)
            real = torch.arange(count_chunks(frames.shape[1], self.chunk), device=mask.device) < counts[:, None]
        # What lies behind a clip's end is 0 here, as the silence is that ends its last chunk.
        x = cut_chunks(self.enter(self.norm(frames, mask)), self.chunk)
        for block in self.blocks:
            x = block(x, real)
        x = join_chunks(F.prelu(x, self.slope), frames.shape[1])
        x = F.linear(x, self.split.weight, 2 * self.split.bias).unflatten(-1, (self.speakers, self.dim))
        content, opening = self.gates(x).chunk(2, -1)
        return torch.relu(self.leave(torch.tanh(content) * torch.sigmoid(opening)))


def count_chunks(frames: Count, chunk: int) -> Count:
    """Chunks of a clip of so many frames; a clip that would end with the last chunk's first half has two more."""
    return 2 * ((frames + chunk // 2) // chunk + 1)


def cut_chunks(x: Tensor, chunk: int) -> Tensor:
    """(B, T, C) -> (B, S, chunk, C), one every chunk / 2 frames, half a chunk of silence in front."""
    half, count = chunk // 2, count_chunks(x.shape[1], chunk)
    x = F.pad(x, (0, 0, half, count * half - x.shape[1]))
    return x.unfold(1, chunk, half).transpose(2, 3).contiguous()


def join_chunks(x: Tensor, frames: int) -> Tensor:
    """(B, S, chunk, C) -> (B, frames, C), the sum of the two chunks that each frame is in."""
    half = x.shape[2] // 2
    first, second = x[:, 1:, :half], x[:, :-1, half:]
    return (first + second).flatten(1, 2)[:, :frames]
