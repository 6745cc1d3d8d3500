"""DPRNN (Luo, Chen & Yoshioka 2020, arXiv 1910.06379), as SpeechBrain has it: a dual-path network (`dual_path`) whose
mixers are bidirectional LSTMs with a linear layer behind them, W [h forward; h backward] + b.

The defaults are those of its recipe for WSJ0-2mix: 256 filters of 16 samples, 6 blocks, chunks of 250 frames, 256
units a direction, 14.6 M parameters (the paper's network is narrower: 64 frames' width, 128 units, 2.6 M).
"""

__all__ = ["DPRNN", "BidirectionalLSTM"]

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from apps.audio.models.dual_path import DualPathBlock, DualPathMasks
from apps.audio.models.waveform import SeparationNetwork
from core.layout import zero_padding

Sequence = TypeVar("Sequence", Tensor, PackedSequence)


class BidirectionalLSTM(nn.Module):
    """A linear layer of the states of two LSTMs, one from the front and one from the end.

    Args:
        dim: width of the tokens.
        hidden: units a direction.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, hidden, batch_first=True, bidirectional=True)
        for name, weight in self.lstm.named_parameters():
            if name.startswith("weight_hh"):
                nn.init.orthogonal_(weight)
        self.leave = nn.Linear(2 * hidden, dim)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim), mask (B, T) of its real beginnings."""
        if mask is None:
            return self.leave(self._run(x))
        # Backward starts at the last real token, and a sequence has one at least.
        lengths = mask.sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(zero_padding(x, mask), lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self._run(packed), batch_first=True, total_length=x.shape[1])
        return zero_padding(self.leave(states), mask)

    def _run(self, x: Sequence) -> Sequence:
        """Both states of every token."""
        kind = self.lstm.weight_hh_l0.device.type
        # Half precision has LSTMs on few CPUs.
        with torch.autocast(kind, enabled=torch.is_autocast_enabled(kind) and kind != "cpu"):
            return self.lstm(x.to(self.lstm.weight_hh_l0.dtype) if kind == "cpu" else x)[0]


class DPRNN(SeparationNetwork):
    """Separation by LSTMs within and across chunks.

    Args:
        dim: width of the frames inside.
        depth: number of blocks.
        hidden: units of an LSTM a direction; dim by default.
        chunk: frames of a chunk; even.
        speakers: waveforms out.
        channels: filters of the encoder; dim by default.
        kernel: samples of a frame.
        stride: samples from one frame to the next; half a kernel by default.
        official: last samples that fill no frame are silent, as in the release.
    """

    def __init__(
        self,
        dim: int = 256,
        depth: int = 6,
        *,
        hidden: int | None = None,
        chunk: int = 250,
        speakers: int = 2,
        channels: int | None = None,
        kernel: int = 16,
        stride: int | None = None,
        official: bool = False,
    ) -> None:
        channels = channels or dim
        hidden = hidden or dim
        blocks = (
            DualPathBlock(dim, BidirectionalLSTM(dim, hidden), BidirectionalLSTM(dim, hidden)) for _ in range(depth)
        )
        masks = DualPathMasks(channels, dim, blocks, chunk=chunk, speakers=speakers)
        super().__init__(masks, channels, kernel=kernel, stride=stride, official=official)
