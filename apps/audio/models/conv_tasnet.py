"""Conv-TasNet (Luo & Mesgarani 2019, arXiv 1809.07454), as torchaudio has it:

    E = frames W_e                                             no ReLU, half a kernel of silence at both ends
    x = W_in norm(E) + b                                       norm over frames and channels together (gLN)
    layer d = 0 .. depth - 1, `repeats` times:
        h = norm(prelu(W x + b)),   h = norm(prelu(depthwise(h; dilation 2^d) + b))
        skips += W_s h + b,         x = x + W_r h + b          the last layer has skips alone
    masks = activation(W_out prelu(skips) + b)

    paper's letters: N channels, L kernel, B dim, Sc skip, H hidden, P taps, X depth, R repeats

Shapes: mixture (B, T) -> (B, S, T); frames (B, n, N).  4.98 M parameters for 2 speakers, 8 or 16 kHz.

Decided: frames stay channels last, residual and skip are one product.  The paper's masks are sigmoids, and so are the
defaults; torchaudio's `conv_tasnet_base` (and its weights for Libri2Mix) takes `nn.ReLU`.
"""

__all__ = ["ConvTasNet", "ConvTasNetLayer", "ConvTasNetMasks", "conv_tasnet_base"]

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.audio.models.waveform import SeparationNetwork, square_roots
from core.layout import zero_padding
from core.norms import GlobalNorm
from core.ops.depthwise import depthwise
from core.ops.normalise import prelu_moments


class ConvTasNetLayer(nn.Module):
    """A dilated depthwise convolution between two linear layers.

    Args:
        dim: width of the frames.
        hidden: width of the convolution.
        skip: width of what goes to the masks at once.
        taps: of the convolution.
        dilation: frames from one tap to the next.
        residual: whether the frames go on; not in the last layer.
    """

    def __init__(
        self, dim: int, hidden: int, skip: int, *, taps: int = 3, dilation: int = 1, residual: bool = True
    ) -> None:
        super().__init__()
        self.skip, self.dilation, self.residual = skip, dilation, residual
        self.enter = nn.Linear(dim, hidden)
        self.slope = nn.Parameter(torch.full((1,), 0.25))
        self.norm = GlobalNorm(hidden)
        own = nn.Conv1d(hidden, hidden, taps, groups=hidden)
        self.conv, self.conv_bias = own.weight, own.bias
        self.conv_slope = nn.Parameter(torch.full((1,), 0.25))
        self.conv_norm = GlobalNorm(hidden)
        self.leave = nn.Linear(hidden, skip + dim * residual)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (B, T, dim), mask (B, T) -> skip (B, T, skip) and the frames (B, T, dim) of the next layer."""
        p, mean, rate = prelu_moments(self.enter(x), self.slope, mask, self.norm.eps)
        weight = rate * self.norm.weight
        h = zero_padding(torch.addcmul(self.norm.bias - mean * weight, p, weight), mask)
        h = depthwise(h, self.conv, self.conv_bias, dilation=self.dilation)
        p, mean, rate = prelu_moments(h, self.conv_slope, mask, self.conv_norm.eps)
        # The second norm is that of the product's result: W (w rate (p - mean) + b) + c.
        last = self.leave
        weight = last.weight * self.conv_norm.weight
        bias = last.weight @ self.conv_norm.bias + last.bias
        h = torch.addcmul(bias - mean * rate * weight.sum(1), F.linear(p, weight), rate)
        return h[..., : self.skip], x + h[..., self.skip :] if self.residual else x


class ConvTasNetMasks(nn.Module):
    """Masks (B, T, S, channels) from frames (B, T, channels).

    Args:
        channels: width of the frames.
        dim: width between the layers.
        depth: layers of dilations 1, 2, 4, ...
        repeats: how often the layers stand one after the other.
        hidden: width of the convolutions.
        skip: width of what every layer gives to the masks; dim by default.
        taps: of a convolution.
        speakers: S.
        activation: makes that of the masks.
        root: square roots of the frames go in, which are not negative then.
    """

    def __init__(
        self,
        channels: int,
        dim: int = 128,
        depth: int = 8,
        *,
        repeats: int = 3,
        hidden: int = 512,
        skip: int | None = None,
        taps: int = 3,
        speakers: int = 2,
        activation: Callable[[], nn.Module] = nn.Sigmoid,
        root: bool = False,
    ) -> None:
        super().__init__()
        self.dim, self.speakers, self.root = dim, speakers, root
        skip = skip or dim
        self.norm = GlobalNorm(channels)
        self.enter = nn.Linear(channels, dim)
        last = repeats * depth - 1
        self.layers = nn.ModuleList(
            ConvTasNetLayer(dim, hidden, skip, taps=taps, dilation=2 ** (n % depth), residual=n < last)
            for n in range(repeats * depth)
        )
        self.slope = nn.Parameter(torch.full((1,), 0.25))
        self.leave = nn.Linear(skip, speakers * channels)
        self.activation = activation()

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """frames (B, T, channels), mask (B, T)."""
        frames = square_roots(zero_padding(frames, mask), mask) if self.root else frames
        x = self.enter(self.norm(frames, mask))
        skips: Tensor | float = 0.0
        for layer in self.layers:
            skip, x = layer(x, mask)
            skips = skips + skip
        masks = self.activation(self.leave(F.prelu(skips, self.slope)))
        return masks.unflatten(-1, (self.speakers, -1))


class ConvTasNet(SeparationNetwork):
    """Separation by dilated convolutions.

    Args:
        dim: width between the layers (B).
        depth: layers of dilations 1, 2, 4, ... (X).
        repeats: how often they stand one after the other (R).
        hidden: width of the convolutions (H).
        skip: width of what every layer gives to the masks (Sc); dim by default.
        taps: of a convolution (P).
        speakers: waveforms out.
        channels: filters of the encoder (N).
        kernel: samples of a frame (L).
        stride: samples from one frame to the next; half a kernel by default.
        activation: makes that of the masks.
        spectral: encoder and decoder start as a Fourier transform, frames pass a ReLU, and the mask network sees their
            square roots; training leaves the plateau at 0 dB much earlier. Neither in the paper nor in torchaudio.
    """

    def __init__(
        self,
        dim: int = 128,
        depth: int = 8,
        *,
        repeats: int = 3,
        hidden: int = 512,
        skip: int | None = None,
        taps: int = 3,
        speakers: int = 2,
        channels: int = 512,
        kernel: int = 16,
        stride: int | None = None,
        activation: Callable[[], nn.Module] = nn.Sigmoid,
        spectral: bool = False,
    ) -> None:
        masks = ConvTasNetMasks(
            channels,
            dim,
            depth,
            repeats=repeats,
            hidden=hidden,
            skip=skip,
            taps=taps,
            speakers=speakers,
            activation=activation,
            root=spectral,
        )
        super().__init__(masks, channels, kernel=kernel, stride=stride, fourier=spectral)
        self.side = kernel // 2
        self.rectified = spectral

    def encode(self, cut: Tensor) -> Tensor:
        """Pieces of the mixture (B, T, kernel) to frames (B, T, channels)."""
        frames = F.linear(cut, self.encoder)
        return torch.relu(frames) if self.rectified else frames


def conv_tasnet_base(speakers: int = 2) -> ConvTasNet:
    """The size that the paper found best, as `torchaudio.models.conv_tasnet_base`: masks by ReLU."""
    return ConvTasNet(speakers=speakers, activation=nn.ReLU)
