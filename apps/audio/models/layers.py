"""Layers of MossFormer and MossFormer2 over frames (B, T, C), and the stack of them that is their separator.

MossFormer (Zhao & Ma 2023)       x + attention(x)
MossFormer2 (Zhao et al. 2024)    x + attention(x), then x + memory(x)

Every layer takes the mask of real frames, and a sequence in a batch gives what it gives alone.
"""

__all__ = ["LayerStack", "MossFormer2Layer", "MossFormerLayer"]

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from core.mixers import GatedMemory, JointAttention
from core.norms import GlobalNorm


class MossFormerLayer(nn.Module):
    """Attention with a residual.

    Args:
        dim: width of the frames.
        hidden: width of the two values together; 4 dim by default.
        key_dim: width of queries and keys.
        group: frames of a local group.
        causal: the attention does not look ahead.
        official: with causal, the convolutions look ahead all the same.
        dropout: rate inside.
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden: int | None = None,
        key_dim: int = 128,
        group: int = 256,
        causal: bool = False,
        official: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.attention = JointAttention(
            dim, hidden=hidden, key_dim=key_dim, group=group, causal=causal, official=official, dropout=dropout
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim), mask (B, T)."""
        return x + self.attention(x, mask=mask)


class MossFormer2Layer(nn.Module):
    """Attention and gated memory, each with a residual.

    Args:
        dim: width of the frames.
        hidden: width of the two values together; 4 dim by default.
        key_dim: width of queries and keys.
        group: frames of a local group.
        inner: width of the memory.
        order: reach of the memory.
        dropout: rate inside.
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden: int | None = None,
        key_dim: int = 128,
        group: int = 256,
        inner: int = 256,
        order: int = 20,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.attention = JointAttention(dim, hidden=hidden, key_dim=key_dim, group=group, dropout=dropout)
        self.memory = GatedMemory(dim, inner=inner, order=order, dropout=dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim), mask (B, T)."""
        x = x + self.attention(x, mask=mask)
        return x + self.memory(x, mask=mask)


class LayerStack(nn.Module):
    """x + norm over time (LayerNorm (layers (x))): the separator of both.

    Args:
        dim: width of the frames.
        layers: layers in their order, each called with x and mask.
        norm: normalisation over time of (B, T, dim) with a mask.
        recompute: whether training keeps the input of a layer alone and computes the layer again in the backward
            pass (activation checkpointing): about 1/3 more time for a small part of the memory.
    """

    def __init__(
        self, dim: int, layers: Iterable[nn.Module], norm: nn.Module | None = None, *, recompute: bool = False
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.frame_norm = nn.LayerNorm(dim, eps=1e-6)
        self.norm = norm or GlobalNorm(dim)
        self.recompute = recompute

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim), mask (B, T)."""
        y = x
        for layer in self.layers:
            if self.recompute and self.training and torch.is_grad_enabled():
                y = checkpoint(layer, y, mask, use_reentrant=False)
            else:
                y = layer(y, mask)
        return x + self.norm(self.frame_norm(y), mask)
