"""Operations of the releases of DRSformer and DLGSANet, transcribed, and RGT-S as spandrel has it.

Sparse attention between channels: q and k normalised by copies, four masks, four softmaxes, four products with v. The
dynamic filter of DLGSANet exists for CUDA only; its peer is the usual form: unfold, multiply, sum.
"""

__all__ = ["SparseAttention", "four_products", "rgt_small", "unfold_multiply_sum"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.mixers import ChannelAttention


def four_products(scores: Tensor, v: Tensor, shares: Tensor, keep: list[int]) -> Tensor:
    """scores (B, H, c, c), v (B, H, c, N): a softmax over the k largest and a product for each k, then the sum."""
    total = torch.zeros_like(v)
    for share, count in zip(shares, keep, strict=True):
        mask = torch.zeros_like(scores).scatter_(-1, scores.topk(count, -1).indices, 1.0)
        kept = torch.where(mask > 0, scores, torch.full_like(scores, -torch.inf))
        total = total + (kept.softmax(-1) @ v) * share
    return total


def unfold_multiply_sum(x: Tensor, weight: Tensor) -> Tensor:
    """x (B, C, H, W), weight (B, G, k k, H, W) -> (B, C, H, W)."""
    batch, channels, height, width = x.shape
    groups, taps = weight.shape[1:3]
    kernel = int(taps**0.5)
    near = F.unfold(x, kernel, padding=kernel // 2).view(batch, groups, channels // groups, taps, height, width)
    return (near * weight[:, :, None]).sum(3).view_as(x)


class SparseAttention(nn.Module):
    """DRSformer's attention on images (B, C, H, W), with the weights of ours."""

    def __init__(self, own: ChannelAttention) -> None:
        super().__init__()
        self.own = own

    def forward(self, x: Tensor) -> Tensor:
        own, (batch, dim, height, width) = self.own, x.shape
        qkv = F.conv2d(x, own.qkv.weight[..., None, None])
        qkv = F.conv2d(qkv, own.local.weight, padding=1, groups=3 * dim)
        q, k, v = (t.reshape(batch, own.heads, -1, height * width) for t in qkv.chunk(3, 1))
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * own.temperature[:, None, None]
        keep = [scores.shape[-1] * a // b for a, b in own.weighting.fractions]
        y = four_products(scores, v, own.weighting.shares, keep).reshape(x.shape)
        return F.conv2d(y, own.out.weight[..., None, None])


def rgt_small() -> nn.Module:
    """The class of spandrel, x4."""
    from spandrel.architectures.RGT import RGT

    six = {"depth": [6] * 6, "num_heads": [6] * 6}
    return RGT(upscale=4, embed_dim=180, mlp_ratio=2, split_size=[8, 32], resi_connection="1conv", **six)
