"""What separation networks share: a learned filter bank, a network of masks, and the way back (TasNet, Luo & Mesgarani
2018; SepFormer, Subakan et al. 2021; MossFormer):

    E = relu(frames W_e),    x = W_in norm(E) + scale [sin(t f), cos(t f)],    x = separator(x)
    masks_s = relu(W_out (tanh(W_t x_s + b_t) * sigmoid(W_g x_s + b_g))),    x_s = part s of W_s prelu(x) + b_s
    waveform_s = overlap-add of (masks_s * E) W_d

Shapes: mixture (B, T) -> (B, S, T); frames of `kernel` samples every `stride`; f_i = 10000^(-2 i / C).

Decided: every sample lies in a frame (the releases leave up to stride - 1 last samples in none and fail for less than
a kernel); frames beyond a clip's own length are left out of everything, so that a clip in a batch gives what it gives
alone (the releases average over padding: 2 to 27 % of the output).  `official=True` cuts frames as the releases do.
Masks multiply E, or are taken in its place (`mapping`), as the release does for the weights named whamr.
"""

__all__ = ["MaskNetwork", "SeparationNetwork", "frame_mask"]

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import zero_padding
from core.norms import GlobalNorm


class MaskNetwork(nn.Module):
    """Masks (B, T, S, channels) from frames (B, T, channels).

    Args:
        channels: width of the frames.
        dim: width inside.
        separator: what mixes frames, called with x (B, T, dim) and mask (B, T).
        speakers: S.
        norm: builds the normalisation over time of the frames, from their width.
        root: square roots of the frames go in, so that quiet parts are seen.
    """

    def __init__(
        self,
        channels: int,
        dim: int,
        separator: nn.Module,
        *,
        speakers: int = 2,
        norm: Callable[[int], nn.Module] = GlobalNorm,
        root: bool = False,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.root = root
        self.speakers = speakers
        self.norm = norm(channels)
        self.enter = nn.Linear(channels, dim, bias=False)
        self.position_scale = nn.Parameter(torch.ones(1))
        self.separator = separator
        self.slope = nn.Parameter(torch.full((1,), 0.25))
        self.split = nn.Linear(dim, speakers * dim)
        self.gates = nn.Linear(dim, 2 * dim)
        self.leave = nn.Linear(dim, channels, bias=False)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """frames (B, T, channels), mask (B, T)."""
        x = self.enter(self.norm(square_roots(frames, mask) if self.root else frames, mask))
        x = torch.addcmul(x, self.position_scale, positions(x.shape[1], self.dim, x))
        x = F.prelu(self.separator(x, mask), self.slope)
        x = self.split(x).unflatten(-1, (self.speakers, self.dim))
        content, opening = self.gates(x).chunk(2, -1)
        return torch.relu(self.leave(torch.tanh(content) * torch.sigmoid(opening)))


class SeparationNetwork(nn.Module):
    """Waveform to waveforms.

    Args:
        masks: the mask network.
        channels: filters of the encoder.
        kernel: samples of a frame.
        stride: samples from one frame to the next; half a kernel by default.
        mapping: what `masks` gives is decoded itself instead of its product with the encoder's frames.
        fourier: encoder and decoder start as a windowed Fourier transform instead of at random.
        official: last samples that fill no frame are left out, as in the releases.

    Attributes:
        side: samples of silence around the mixture, none but where a subclass says so.

    Raises:
        ValueError: `fourier` with a number of channels that is no multiple of 4.
    """

    def __init__(
        self,
        masks: MaskNetwork,
        channels: int,
        *,
        kernel: int = 16,
        stride: int | None = None,
        mapping: bool = False,
        fourier: bool = False,
        official: bool = False,
    ) -> None:
        super().__init__()
        self.side = 0
        if fourier and channels % 4:
            raise ValueError(f"channels {channels}; a Fourier start needs a multiple of 4")
        self.kernel = kernel
        self.stride = stride or kernel // 2
        self.mapping = mapping
        self.official = official
        # Drawn as torch draws convolutions' of these sizes.
        self.encoder = nn.Parameter(nn.Conv1d(1, channels, kernel, bias=False).weight.detach()[:, 0])
        self.masks = masks
        self.decoder = nn.Parameter(nn.ConvTranspose1d(channels, 1, kernel, bias=False).weight.detach()[:, 0])
        if fourier:
            with torch.no_grad():
                self.encoder.copy_(fourier_filters(channels, kernel))
                self.decoder.copy_(fourier_filters(channels, kernel))

    def forward(self, mixture: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Separates clips of one length or of several, padded at the end.

        Args:
            mixture: (B, T), T at least 1; what lies behind a clip's end is ignored.
            lengths: (B,) samples of each clip; all T by default.

        Returns:
            (B, S, T), 0 behind a clip's end.

        Raises:
            ValueError: for other shapes, or lengths outside of 1 to T.
        """
        _check(mixture, lengths)
        samples = mixture.shape[1]
        real = None
        if lengths is not None and bool((lengths != samples).any()):
            lengths = lengths.to(mixture.device)
            real = torch.arange(samples, device=mixture.device) < lengths[:, None]
            mixture = mixture.masked_fill(~real, 0)
        side = self.side
        count = self.count_frames(samples + 2 * side)
        mask = (
            None
            if real is None or lengths is None
            else frame_mask((lengths + 2 * side - self._short).clamp(min=0) // self.stride + 1, count)
        )
        filled = (count - 1) * self.stride + self.kernel
        cut = F.pad(mixture, (side, max(filled - samples - side, 0))).unfold(-1, self.kernel, self.stride)
        # Sound keeps all its digits; half precision is for the network in between.
        whole = partial(torch.autocast, mixture.device.type, enabled=False)
        with whole():
            frames = zero_padding(self.encode(cut), mask)
        separated = self.masks(frames, mask).to(frames.dtype)
        with whole():
            waveforms = self._decode(separated if self.mapping else separated * frames[:, :, None], mask)
        waveforms = F.pad(waveforms, (0, max(samples + side - filled, 0)))[..., side : side + samples]
        return waveforms if real is None else waveforms * real[:, None]

    def encode(self, cut: Tensor) -> Tensor:
        """Pieces of the mixture (B, T, kernel) to frames (B, T, channels)."""
        return torch.relu(F.linear(cut, self.encoder))

    def _decode(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, S, channels) to waveforms that end with the last frame."""
        pieces = torch.einsum("btsc,ck->bskt", frames, self.decoder)
        if mask is not None:
            pieces = pieces.masked_fill(~mask[:, None, None], 0)
        filled = (frames.shape[1] - 1) * self.stride + self.kernel
        whole = F.fold(pieces.flatten(0, 1), (1, filled), (1, self.kernel), stride=(1, self.stride))
        return whole.view(len(frames), -1, filled)

    def count_frames(self, samples: int) -> int:
        """Frames of a clip of so many samples, 1 at least."""
        return max(samples - self._short, 0) // self.stride + 1

    @property
    def _short(self) -> int:
        """Samples that one frame holds, counted so that a started frame is a frame, or in the releases' way not."""
        return self.kernel - (0 if self.official else self.stride - 1)


def square_roots(frames: Tensor, mask: Tensor | None) -> Tensor:
    """Roots of frames (B, T, C) >= 0, each clip scaled to mean 1 first: loudness does not matter."""
    count = frames.shape[1] if mask is None else mask.sum(1)[:, None, None]
    mean = frames.sum((1, 2), keepdim=True) / (count * frames.shape[2])
    # Silent clips stay 0, and the slope of the root stays finite.
    return (frames / mean.clamp(min=torch.finfo(frames.dtype).tiny) + 1e-4).sqrt() - 1e-2


def fourier_filters(channels: int, kernel: int) -> Tensor:
    """(channels, kernel): cosines and sines of both signs at channels / 4 frequencies, below a square-root Hann window.

    After the ReLU the four phases of a frequency keep all of its amplitude and phase; the decoder that starts from the
    same filters adds them up to the waveform again.
    """
    time = torch.arange(kernel, dtype=torch.float64)
    frequency = (torch.arange(channels // 4, dtype=torch.float64) + 0.5) / (channels // 4) * math.pi
    angle = frequency[:, None] * (time - (kernel - 1) / 2)
    window = torch.sin(math.pi * (time + 0.5) / kernel) / kernel**0.5
    waves = torch.cat([angle.cos(), -angle.cos(), angle.sin(), -angle.sin()])
    return (waves * window).float()


def positions(length: int, dim: int, like: Tensor) -> Tensor:
    """[sin(t f), cos(t f)] (length, dim), of the type and device of `like`; an odd dim has one sine more."""
    frequency = 10000.0 ** -(torch.arange(0, dim, 2, device=like.device, dtype=torch.float64) / dim)
    # Angles of long recordings need more digits than float32 has.
    angle = torch.arange(length, device=like.device, dtype=torch.float64)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], -1)[:, :dim].to(like.dtype)


def frame_mask(counts: Tensor, length: int) -> Tensor:
    """(B, length), True at the first `counts` (B,) frames."""
    return torch.arange(length, device=counts.device) < counts[:, None]


def _check(mixture: Tensor, lengths: Tensor | None) -> None:
    if mixture.ndim != 2 or not mixture.shape[1]:
        raise ValueError(f"mixture has shape {tuple(mixture.shape)}; give (batch, samples) with one sample at least")
    if lengths is None:
        return
    if lengths.shape != mixture.shape[:1]:
        raise ValueError(f"lengths has shape {tuple(lengths.shape)}; give one number for each of {len(mixture)} clips")
    if bool((lengths < 1).any()) or bool((lengths > mixture.shape[1]).any()):
        raise ValueError(f"lengths {lengths.tolist()} of clips padded to {mixture.shape[1]}; give 1 to that many")
