"""The layers of PatchTSMixer: an MLP and a softmax gate along each axis of `(B, C, P, dim)` in turn.

Ekambaram et al., "TSMixer: Lightweight MLP-Mixer Model for Multivariate Time Series Forecasting", KDD 2023, in the
form of transformers 5.23 (`models/patchtsmixer`).  C channels, P patches, `dim` features; all branches are residual
with the norm in front::

    gate_n(x)   = x * softmax(W x)                       along an axis of n
    mlp_n(x)    = W2 gelu(W1 x)                          n -> expansion n -> n
    channels    x + mlp_C(gate_C(norm x))                only with mix_channels; here the gate comes first
    patches     x + gate_P(mlp_P(norm x))
                x + norm(gate_P(mlp_P(norm x)) + attention(norm x))    with heads
    features    x + gate_d(mlp_d(norm x))

Decided differently: a single patch is not mixed with itself (no patch mixer; the release has no such case).
"""

__all__ = ["Gate", "MixerLayer", "TokenBatchNorm", "channel_mixer", "feature_mixer", "patch_mixer"]

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.ops.dropout import dropout


class TokenBatchNorm(nn.BatchNorm1d):
    """Batch norm of channels-last tokens `(..., dim)`, every token a sample."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)


class Gate(nn.Module):
    """x * softmax(W x) along the last axis.

    Args:
        size: length of that axis.
    """

    def __init__(self, size: int):
        super().__init__()
        self.weigh = nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x).softmax(-1)

    def columns(self, x: Tensor) -> Tensor:
        """The same along the first axis of a matrix."""
        return x * columns(self.weigh, x).softmax(0)


class Mlp(nn.Module):
    """Two Linears along the last axis with gelu between; dropout after both.

    Args:
        size: length of that axis.
        expansion: hidden units per input.
        dropout: rate.
    """

    def __init__(self, size: int, expansion: int, dropout: float = 0.0):
        super().__init__()
        self.expand, self.contract = nn.Linear(size, expansion * size), nn.Linear(expansion * size, size)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        inner = dropout(F.gelu(self.expand(x)), self.dropout, self.training)
        return dropout(self.contract(inner), self.dropout, self.training)

    def columns(self, x: Tensor) -> Tensor:
        """The same along the first axis of a matrix."""
        inner = dropout(F.gelu(columns(self.expand, x)), self.dropout, self.training)
        return dropout(columns(self.contract, inner), self.dropout, self.training)


def as_rows(size: int, numbers: int) -> bool:
    """Whether an axis is mixed as rows of a Linear instead of columns.

    Measured on one CPU thread: rows of 7 are products of tiny matrices, columns take a third of the time, in training
    half; with 64 columns win by a tenth as long as everything stays in the cache and lose as much beyond.
    """
    return size >= 48 and numbers >= 2**18


def columns(linear: nn.Linear, x: Tensor) -> Tensor:
    """A Linear along the first axis of a matrix."""
    return torch.addmm(linear.bias.unsqueeze(1), linear.weight, x)


class Attention(nn.Module):
    """Softmax attention over tokens `(N, P, dim)`, dropout on the weights alone.

    Args:
        dim: token width.
        heads: attention heads, a divisor of `dim`.
        dropout: rate.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
        self.heads, self.dropout = heads, dropout
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.out(mixed.transpose(1, 2).flatten(2))


class AxisMixer(nn.Module):
    """One residual branch: norm over features, then MLP and gate along one axis.

    Args:
        dim: features, the last axis, which the norm is over.
        size: length of the mixed axis.
        axis: 1 channels, 2 patches, 3 features.
        expansion: hidden units of the MLP per input.
        dropout: rate.
        gate: with the softmax gate.
        gate_first: the gate before the MLP.
        heads: attention over patches beside the MLP; 0 for none.
        norm: makes a norm from `dim`.
    """

    def __init__(
        self,
        dim: int,
        size: int,
        axis: int,
        expansion: int,
        dropout: float = 0.0,
        gate: bool = True,
        gate_first: bool = False,
        heads: int = 0,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
    ):
        super().__init__()
        self.axis, self.gate_first = axis, gate_first
        self.norm = norm(dim)
        self.mlp = Mlp(size, expansion, dropout)
        self.gate = Gate(size) if gate else None
        self.attention = Attention(dim, heads, dropout) if heads else None
        self.attention_norm = norm(dim) if heads else None

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        if self.axis == 3:
            y = self.mlp(normed)
            return x + y if self.gate is None else torch.addcmul(x, y, self.gate.weigh(y).softmax(-1))
        if as_rows(x.shape[self.axis], x.numel()):
            y = self._mixed(normed.transpose(self.axis, -1), self.mlp, self.gate).transpose(self.axis, -1)
        else:
            ahead = normed.movedim(self.axis, 0)
            gate = None if self.gate is None else self.gate.columns
            y = self._mixed(ahead.reshape(len(ahead), -1), self.mlp.columns, gate)
            y = y.view(ahead.shape).movedim(0, self.axis)
        if self.attention is not None:
            attended = self.attention(normed.flatten(0, 1)).view(x.shape)
            y = self.attention_norm(y + attended)
        return x + y

    def _mixed(self, y: Tensor, mlp: Callable[[Tensor], Tensor], gate: Callable[[Tensor], Tensor] | None) -> Tensor:
        if gate is None:
            return mlp(y)
        return mlp(gate(y)) if self.gate_first else gate(mlp(y))


def channel_mixer(
    dim: int,
    channels: int,
    expansion: int,
    dropout: float = 0.0,
    gate: bool = True,
    norm: Callable[[int], nn.Module] = nn.LayerNorm,
) -> AxisMixer:
    """Mixes channels; the gate comes before the MLP."""
    return AxisMixer(dim, channels, 1, expansion, dropout, gate, gate_first=True, norm=norm)


def patch_mixer(
    dim: int,
    patches: int,
    expansion: int,
    dropout: float = 0.0,
    gate: bool = True,
    heads: int = 0,
    norm: Callable[[int], nn.Module] = nn.LayerNorm,
) -> AxisMixer:
    """Mixes patches, by attention too where there are heads."""
    return AxisMixer(dim, patches, 2, expansion, dropout, gate, heads=heads, norm=norm)


def feature_mixer(
    dim: int,
    expansion: int,
    dropout: float = 0.0,
    gate: bool = True,
    norm: Callable[[int], nn.Module] = nn.LayerNorm,
) -> AxisMixer:
    """Mixes the features of a token."""
    return AxisMixer(dim, dim, 3, expansion, dropout, gate, norm=norm)


class MixerLayer(nn.Sequential):
    """Channels (if they mix), patches (if there are several), features.

    Args:
        dim: features.
        patches: number of patches P.
        expansion: hidden units per input.
        dropout: rate.
        channels: number of channels C to be mixed; 0 keeps them apart.
        gate: softmax gates.
        heads: attention over patches beside their MLP; 0 for none.
        norm: makes a norm from `dim`.
    """

    def __init__(
        self,
        dim: int,
        patches: int,
        expansion: int = 2,
        dropout: float = 0.0,
        channels: int = 0,
        gate: bool = True,
        heads: int = 0,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
    ):
        super().__init__()
        if channels:
            self.add_module("channels", channel_mixer(dim, channels, expansion, dropout, gate, norm))
        if patches > 1:
            self.add_module("patches", patch_mixer(dim, patches, expansion, dropout, gate, heads, norm))
        self.add_module("features", feature_mixer(dim, expansion, dropout, gate, norm))
