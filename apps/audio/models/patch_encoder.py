"""The encoder of AST and SSAST (Gong et al. 2021, arXiv 2104.01778; 2022, arXiv 2110.09784): patches of a log-mel
spectrogram through a pre-norm transformer.

    x = W patch + b + positions,   x = x + attention(norm(x)),   x = x + W2 gelu(W1 norm(x)),   ...,   norm(x)

Shapes: log-mel (B, T, bins), bins the narrower axis of a patch -> tokens (B, T / 16, bins / 16, dim).  The published
sizes have patches of 16 frames by 16 bins, or of 2 frames by all bins, and

    tiny    dim 192    depth 12    heads 3        small   384, 12, 6        base    768, 12, 12

Pre-training hides patches: `MaskedPrediction(encoder, dim)` of `core.masked_prediction`; the frame patches of the
release are hidden singly (`clusters=(1, 1)`).

Decided: positions are sinusoids of time and frequency, so that any length works and a clip in a batch has the positions
it has alone; no class tokens, which the release does not read after its pre-training by default.  Its weights, which
belong to a learned table of one length, are therefore not loaded.
"""

__all__ = ["PatchEncoder", "log_mel"]

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.blocks import Stack, blocks
from core.channels import MLP
from core.layout import zero_padding
from core.mixers import Attention
from core.positions import Sinusoid
from core.resample import PatchEmbed, Resampled

# Mean and deviation of log-mel values over AudioSet and LibriSpeech, as the release has them; it halves what is left.
MEAN, DEVIATION = -4.2677393, 4.5689974


class PatchEncoder(nn.Module):
    """Tokens of patches, each knowing all others.

    Args:
        dim: width of the tokens; a multiple of 4.
        depth: number of layers.
        heads: number of heads.
        patch: frames and bins of a patch.
        hidden: width of the feed-forward networks; 4 dim by default.
        dropout: of attention weights and of the feed-forward networks.
    """

    def __init__(
        self,
        dim: int = 192,
        depth: int = 12,
        *,
        heads: int = 3,
        patch: Sequence[int] = (16, 16),
        hidden: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch = tuple(patch)
        self.patches = PatchEmbed(1, dim, self.patch)
        self.position = Sinusoid(dim)
        norm = partial(nn.LayerNorm, eps=1e-6)
        layers = blocks(
            dim,
            depth,
            partial(Attention, heads=heads, dropout=dropout),
            partial(MLP, hidden=hidden or 4 * dim, dropout=dropout),
            norm=norm,
        )
        self.stack = Stack(layers, norm(dim))

    def forward(self, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Log-mel (B, T, bins) and its real frames (B, T) -> tokens (B, *grid, dim) and their mask (B, *grid)."""
        maps = None if mask is None else mask[..., None].expand(features.shape)
        tokens, real, _ = self.embed(features[..., None], maps)
        return self.mix(tokens, mask=real), real

    def embed(self, x: Tensor, mask: Tensor | None = None) -> Resampled:
        """Patches of a map (B, T, bins, 1) and its mask (B, T, bins), without positions."""
        return self.patches(x, mask)

    def mix(self, tokens: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Tokens (B, *grid, dim), mask (B, *grid); 0 at padding."""
        return zero_padding(self.stack(self.position(tokens), mask=mask), mask)


def log_mel(waveform: Tensor, sample_rate: int, bins: int = 128) -> Tensor:
    """Log-mel spectrogram as AST takes it: Kaldi's filter banks, 25 ms every 10 ms, mean 0 and deviation 1/2 or so.

    Args:
        waveform: (T,), at least one sample; one shorter than 25 ms is filled up with silence.
        sample_rate: of the waveform.
        bins: mel bands.

    Returns:
        (frames, bins).

    Raises:
        ValueError: not one waveform.
    """
    # Slow to load, and only needed here.
    from torchaudio.compliance.kaldi import fbank

    if waveform.ndim != 1 or not len(waveform):
        raise ValueError(f"log_mel: waveform has shape {tuple(waveform.shape)}; give (samples,), one at least")
    window = -(-sample_rate * 25 // 1000)
    centred = F.pad(waveform - waveform.mean(), (0, max(window - len(waveform), 0)))
    features = fbank(
        centred[None],
        htk_compat=True,
        sample_frequency=sample_rate,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=bins,
        dither=0.0,
        frame_shift=10,
    )
    return (features.to(torch.float32) - MEAN) / (2 * DEVIATION)
