"""TRANSCRIPTION of the operations of MossFormer2's release (alibabasglab/MossFormer2 5727f73), written afresh, not its
code.

It does what the release does to a layer, in its order, with its copies: a norm of its own in front of every projection,
depthwise convolutions as Conv1d between two transposes, projections of kernel 1 as Conv1d, rotary angles computed for
each of the four copies, groups filled up and masked, one product each for v and u, the memory as Conv2d over (B, C, T,
1).  Parameters bear the official names, so that our layer is filled through its checkpoint mapping.  Dropout has the
rate it is given; in the release it is 0.1 whatever the configuration says.
"""

__all__ = ["PeerAttention", "PeerLayers", "PeerMemory"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Scale(nn.Module):
    """x over its root mean square, times one number."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim, self.g = dim, nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        length = torch.norm(x, dim=-1, keepdim=True) * self.dim**-0.5
        return x / length.clamp(min=1e-5) * self.g


class Depthwise(nn.Module):
    """The convolution alone, under its official name."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, 17, padding=8, groups=dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Transpose(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class Convolved(nn.Module):
    """x + a depthwise convolution between two transposes."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.sequential = nn.Sequential(Transpose(), Depthwise(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sequential(x).transpose(1, 2)


class Feed(nn.Module):
    """Norm, linear layer, SiLU, convolution, dropout."""

    def __init__(self, dim: int, out: int, norm: type[nn.Module], dropout: float) -> None:
        super().__init__()
        self.mdl = nn.Sequential(norm(dim), nn.Linear(dim, out), nn.SiLU(), Convolved(out), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        return self.mdl(x)


class Offset(nn.Module):
    """Four affine copies."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(0.02 * torch.randn(4, dim)), nn.Parameter(torch.zeros(4, dim))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (torch.einsum("...d,hd->...hd", x, self.gamma) + self.beta).unbind(-2)


def rotated(x: Tensor, channels: int = 32) -> Tensor:
    """The first channels turned, pairs side by side."""
    angle = torch.arange(x.shape[-2])[:, None] * 10000.0 ** -(torch.arange(0, channels, 2) / channels)
    angle = angle.repeat_interleave(2, dim=-1)
    first, rest = x[..., :channels], x[..., channels:]
    pairs = first.unflatten(-1, (-1, 2))
    half = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).flatten(-2)
    return torch.cat([first * angle.cos() + half * angle.sin(), rest], dim=-1)


class PeerAttention(nn.Module):
    """The attention half with its residual."""

    def __init__(self, dim: int = 512, key_dim: int = 128, group: int = 256, dropout: float = 0.0) -> None:
        super().__init__()
        self.group = group
        self.to_hidden = Feed(dim, 4 * dim, Scale, dropout)
        self.to_qk = Feed(dim, key_dim, Scale, dropout)
        self.qk_offset_scale = Offset(key_dim)
        self.to_out = Feed(2 * dim, dim, Scale, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        late, rest = x.chunk(2, dim=-1)
        shifted = torch.cat([F.pad(late, (0, 0, 1, -1)), rest], dim=-1)
        v, u = self.to_hidden(shifted).chunk(2, dim=-1)
        copies = [rotated(copy) for copy in self.qk_offset_scale(self.to_qk(shifted))]
        attended_v, attended_u = self.attend(*copies, v, u)
        return x + self.to_out((attended_u * v) * torch.sigmoid(attended_v * u))

    def attend(self, q: Tensor, lq: Tensor, k: Tensor, lk: Tensor, v: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        length, g = q.shape[1], self.group
        short = -length % g
        mask = F.pad(torch.ones(q.shape[:2], dtype=torch.bool), (0, short))
        q, lq, k, lk, v, u = (F.pad(t, (0, 0, 0, short)).unflatten(1, (-1, g)) for t in (q, lq, k, lk, v, u))
        weights = self.dropout(F.relu(torch.einsum("bgid,bgjd->bgij", q, k) / g) ** 2)
        if short:
            weights = weights.masked_fill(~mask.unflatten(1, (-1, 1, g)), 0.0)
        results = []
        for values in (v, u):
            local = torch.einsum("bgij,bgjd->bgid", weights, values)
            state = torch.einsum("bgnd,bgne->bde", lk, values) / length
            results.append((local + torch.einsum("bgnd,bde->bgne", lq, state)).flatten(1, 2)[:, :length])
        return tuple(results)


class Dense(nn.Module):
    """The dense stack of two convolutions over (B, C, T, 1)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, (39, 1), groups=dim, bias=False)
        self.conv2 = nn.Conv2d(2 * dim, dim, (39, 1), dilation=(2, 1), groups=dim, bias=False)
        self.norm1, self.norm2 = nn.InstanceNorm2d(dim, affine=True), nn.InstanceNorm2d(dim, affine=True)
        self.prelu1, self.prelu2 = nn.PReLU(dim), nn.PReLU(dim)

    def forward(self, x: Tensor) -> Tensor:
        first = self.prelu1(self.norm1(self.conv1(F.pad(x, (0, 0, 19, 19)))))
        both = torch.cat([first, x], dim=1)
        return self.prelu2(self.norm2(self.conv2(F.pad(both, (0, 0, 38, 38)))))


class Remembered(nn.Module):
    """x plus the convolutions of its projection."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear, self.project, self.conv = nn.Linear(dim, dim), nn.Linear(dim, dim, bias=False), Dense(dim)

    def forward(self, x: Tensor) -> Tensor:
        p = self.project(F.relu(self.linear(x))).unsqueeze(1).permute(0, 3, 2, 1)
        return x + self.conv(p).permute(0, 3, 2, 1).squeeze(1)


class Gated(nn.Module):
    """Memory times gate, plus x."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.to_u, self.to_v = Feed(dim, dim, nn.LayerNorm, dropout), Feed(dim, dim, nn.LayerNorm, dropout)
        self.fsmn = Remembered(dim)

    def forward(self, x: Tensor) -> Tensor:
        u, v = self.to_u(x), self.to_v(x)
        return v * self.fsmn(u) + x


class FrameNorm(nn.LayerNorm):
    """LayerNorm of (B, C, T) between two transposes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class PeerMemory(nn.Module):
    """The recurrent half with its residual."""

    def __init__(self, dim: int = 512, inner: int = 256, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv1d(dim, inner, 1), nn.PReLU())
        self.norm1, self.norm2 = FrameNorm(inner), FrameNorm(inner)
        self.gated_fsmn = Gated(inner, dropout)
        self.conv2 = nn.Conv1d(inner, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm1(self.conv1(x.transpose(1, 2)))
        remembered = self.gated_fsmn(inner.transpose(1, 2))
        return self.conv2(self.norm2(remembered.transpose(1, 2))).transpose(1, 2) + x


class PeerLayers(nn.Module):
    """Whole layers, one after the other."""

    def __init__(self, dim: int = 512, depth: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PeerAttention(dim, dropout=dropout) for _ in range(depth))
        self.fsmn = nn.ModuleList(PeerMemory(dim, dropout=dropout) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for attention, memory in zip(self.layers, self.fsmn, strict=True):
            x = memory(attention(x))
        return x
