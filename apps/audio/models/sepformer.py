"""SepFormer (Subakan et al. 2021, arXiv 2010.13154), as SpeechBrain has it: a dual-path network (`dual_path`) whose
mixers are stacks of transformers.

    x = x + positions,   x = x + attention(norm(x)),   x = x + W2 relu(W1 norm(x)),   ...,   norm(x)

Positions are interleaved sines and cosines, those of frames within a chunk and those of chunks across.  The defaults
are those of the recipes for WSJ0-2mix and 3mix, WHAM!, WHAMR! and LibriMix: 256 filters of 16 samples, 2 blocks of 8
layers within and 8 across, 8 heads, 1024 hidden units, chunks of 250 frames; 25.7 M parameters for 2 speakers.

Decided: any number of chunks (the release has positions for 2500).
"""

__all__ = ["SepFormer", "TransformerStack"]

from functools import partial

from torch import Tensor, nn

from apps.audio.models.dual_path import DualPathBlock, DualPathMasks
from apps.audio.models.waveform import SeparationNetwork
from core.blocks import Stack, blocks
from core.channels import MLP
from core.mixers import Attention
from core.positions import sinusoid

_NORM = partial(nn.LayerNorm, eps=1e-6)


class TransformerStack(nn.Module):
    """Pre-norm transformer layers over positions, with a norm at the end.

    Args:
        dim: width of the tokens; even.
        depth: number of layers.
        heads: number of heads.
        hidden: width of the feed-forward networks.
        dropout: of attention weights and of the feed-forward networks.
    """

    def __init__(self, dim: int, depth: int, *, heads: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        layers = blocks(
            dim,
            depth,
            partial(Attention, heads=heads, dropout=dropout),
            partial(MLP, hidden=hidden, activation=nn.ReLU, dropout=dropout),
            norm=_NORM,
        )
        self.stack = Stack(layers, _NORM(dim))

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim), mask (B, T)."""
        return self.stack(x + sinusoid(x.shape[1], x.shape[2]).to(x), mask=mask)


class SepFormer(SeparationNetwork):
    """Separation by transformers within and across chunks.

    Args:
        dim: width of the frames inside; even.
        depth: number of blocks.
        layers: transformer layers within chunks, and as many across, of a block.
        heads: number of heads.
        hidden: width of the feed-forward networks.
        chunk: frames of a chunk; even.
        speakers: waveforms out.
        channels: filters of the encoder; dim by default.
        kernel: samples of a frame.
        stride: samples from one frame to the next; half a kernel by default.
        dropout: of attention weights and of the feed-forward networks; the recipes have none.
        official: last samples that fill no frame are silent, as in the release.
    """

    def __init__(
        self,
        dim: int = 256,
        depth: int = 2,
        *,
        layers: int = 8,
        heads: int = 8,
        hidden: int = 1024,
        chunk: int = 250,
        speakers: int = 2,
        channels: int | None = None,
        kernel: int = 16,
        stride: int | None = None,
        dropout: float = 0.0,
        official: bool = False,
    ) -> None:
        channels = channels or dim
        made = partial(TransformerStack, dim, layers, heads=heads, hidden=hidden, dropout=dropout)
        masks = DualPathMasks(
            channels, dim, (DualPathBlock(dim, made(), made()) for _ in range(depth)), chunk=chunk, speakers=speakers
        )
        super().__init__(masks, channels, kernel=kernel, stride=stride, official=official)
