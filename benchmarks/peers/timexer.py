"""TRANSCRIPTION of the operations of TimeXer's release (thuml/TimeXer 7601190), written afresh, not its code.

It does what the release does, in its order, with its copies: three projections an attention, scores by einsum and an
explicit softmax, exogenous keys and values projected in every layer, MLPs as convolutions of kernel 1 between two
transposes, statistics repeated over the horizon, features in front of tokens before the head.  Only the mode MS (the
last channel is the target).  Parameters bear the official names, so that our network is filled through its checkpoint
mapping.

Left out on purpose because it is not arithmetic of the network: the decoder input that nothing reads, and float64
batches that are cast.
"""

__all__ = ["TimeXerPeer"]

import math

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Softmax attention between four projections."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.query_projection = nn.Linear(dim, dim)
        self.key_projection = nn.Linear(dim, dim)
        self.value_projection = nn.Linear(dim, dim)
        self.out_projection = nn.Linear(dim, dim)
        self.heads, self.drop = heads, nn.Dropout(dropout)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        batch, n, _ = queries.shape
        q = self.query_projection(queries).view(batch, n, self.heads, -1)
        k = self.key_projection(tokens).view(batch, tokens.shape[1], self.heads, -1)
        v = self.value_projection(tokens).view(batch, tokens.shape[1], self.heads, -1)
        scores = torch.einsum("blhe,bshe->bhls", q, k)
        weights = self.drop(torch.softmax(scores / math.sqrt(q.shape[-1]), dim=-1))
        mixed = torch.einsum("bhls,bshd->blhd", weights, v).contiguous()
        return self.out_projection(mixed.view(batch, n, -1))


class Layer(nn.Module):
    """Self-attention, cross-attention of the global token, convolutions."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(dim, heads, dropout)
        self.cross_attention = Attention(dim, heads, dropout)
        self.conv1, self.conv2 = nn.Conv1d(dim, hidden, 1), nn.Conv1d(hidden, dim, 1)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, exogenous: Tensor) -> Tensor:
        batch, _, dim = exogenous.shape
        x = self.norm1(x + self.drop(self.self_attention(x, x)))
        own = x[:, -1, :].unsqueeze(1)
        asked = own.reshape(batch, -1, dim)
        answer = self.drop(self.cross_attention(asked, exogenous))
        answer = answer.reshape(answer.shape[0] * answer.shape[1], dim).unsqueeze(1)
        x = torch.cat([x[:, :-1, :], self.norm2(own + answer)], dim=1)
        y = self.drop(nn.functional.gelu(self.conv1(x.transpose(-1, 1))))
        return self.norm3(x + self.drop(self.conv2(y).transpose(-1, 1)))


class PatchEmbedding(nn.Module):
    """Patches of the target with a sinusoidal table, the global token last."""

    def __init__(self, steps: int, dim: int, patch_length: int, dropout: float) -> None:
        super().__init__()
        self.patch_length, self.drop = patch_length, nn.Dropout(dropout)
        self.value_embedding = nn.Linear(patch_length, dim, bias=False)
        self.glb_token = nn.Parameter(torch.randn(1, 1, 1, dim))
        place = torch.arange(steps // patch_length).unsqueeze(1)
        angle = place * torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
        table = torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)
        self.register_buffer("pe", table.unsqueeze(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        targets = x.shape[1]
        token = self.glb_token.repeat((x.shape[0], 1, 1, 1))
        x = x.unfold(-1, self.patch_length, self.patch_length)
        x = torch.reshape(x, (x.shape[0] * targets, x.shape[2], self.patch_length))
        x = self.value_embedding(x) + self.pe
        x = torch.cat([x.reshape(-1, targets, *x.shape[1:]), token], dim=2)
        return self.drop(x.reshape(x.shape[0] * targets, *x.shape[2:]))


class SeriesEmbedding(nn.Module):
    """Every exogenous and calendar series as one token."""

    def __init__(self, steps: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.value_embedding, self.drop = nn.Linear(steps, dim), nn.Dropout(dropout)

    def forward(self, x: Tensor, marks: Tensor) -> Tensor:
        return self.drop(self.value_embedding(torch.cat([x.permute(0, 2, 1), marks.permute(0, 2, 1)], dim=1)))


class Encoder(nn.Module):
    """The layers and a norm."""

    def __init__(self, dim: int, heads: int, hidden: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(dim, heads, hidden, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, exogenous: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, exogenous)
        return self.norm(x)


class Head(nn.Module):
    """Flattens, projects, and drops parts of the forecast, as the release does."""

    def __init__(self, features: int, prediction_length: int, dropout: float) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(features, prediction_length), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.linear(x.flatten(start_dim=-2)))


class TimeXerPeer(nn.Module):
    """x `(B, L, C)` with the target last and marks `(B, L, M)` to the forecast `(B, H, 1)`.

    Args:
        context_length: look-back L, a multiple of the patch.
        prediction_length: horizon H.
        dim, heads, depth, hidden, dropout: of the layers.
        patch_length: steps in a patch.
    """

    def __init__(
        self,
        context_length: int,
        prediction_length: int,
        *,
        dim: int = 512,
        heads: int = 8,
        depth: int = 2,
        hidden: int = 2048,
        patch_length: int = 24,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.prediction_length = prediction_length
        self.en_embedding = PatchEmbedding(context_length, dim, patch_length, dropout)
        self.ex_embedding = SeriesEmbedding(context_length, dim, dropout)
        self.encoder = Encoder(dim, heads, hidden, depth, dropout)
        self.head = Head(dim * (context_length // patch_length + 1), prediction_length, dropout)

    def forward(self, x: Tensor, marks: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True).detach()
        x = x - mean
        deviation = torch.sqrt(torch.var(x, dim=1, keepdim=True, unbiased=False) + 1e-5)
        x = x / deviation
        own = self.en_embedding(x[:, :, -1].unsqueeze(-1).permute(0, 2, 1))
        y = self.encoder(own, self.ex_embedding(x[:, :, :-1], marks))
        y = torch.reshape(y, (-1, 1, y.shape[-2], y.shape[-1])).permute(0, 1, 3, 2)
        y = self.head(y).permute(0, 2, 1)
        y = y * deviation[:, 0, -1:].unsqueeze(1).repeat(1, self.prediction_length, 1)
        return y + mean[:, 0, -1:].unsqueeze(1).repeat(1, self.prediction_length, 1)
