"""Isomer (Yuan et al. 2023, "Isomerous transformer for zero-shot video object segmentation", ICCV): a frame and its
optical flow, seen by a backbone each, fused level by level.

    fine levels    z = W [x, y];  z + W relu(LN(W c)), c = the mean of z weighted by softmax(w z);  then a feed-forward
                   network with a depthwise 3x3, post-norm                                      (context sharing)
    coarse levels  f = W [x, y];  h = sigmoid(w f);  pixels of h >= .5 are foreground, the others background.  Each side
                   has K tokens, sum_n w(g_n) g_n with g = h f or (1 - h) f over all pixels; each pixel attends to those
                   of its side, then a feed-forward network whose depthwise 3x3 runs over the column of the side's
                   pixels in reading order                                      (semantic gathering and scattering)
    head           SegFormer's to width E; twice as large, 3x3 to E / 4; twice as large; one logit

Shapes: frame and flow (B, 3, H, W) -> (B, 1, H, W).  A sample without pixels on one side stays f.

Decided differently: what the coarse levels have attended is written back; the release drops it, so that its output is f
and nothing else of the level learns (`official`, which its checkpoints need).  Both sides are computed for all pixels
and chosen from, without a loop over samples.  The head doubles both axes; the release's takes the width for both.
"""

__all__ = ["ContextSharing", "GatherScatter", "Isomer", "SaliencyHead"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.backbones.base import Backbone
from apps.vision.segmentation.models.layers import ConvNorm, resize
from apps.vision.segmentation.models.segformer import SegFormerHead
from apps.vision.segmentation.models.segmenter import Logits
from core.ops.attend import attend


class PostNormFeed(nn.Module):
    """LN(x + W relu(dw(W x))).

    Args:
        dim, hidden: widths.
        dropout: behind both linear layers.
    """

    def __init__(self, dim: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.local = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, dim) -> the same."""
        y = self.local(self.enter(x).movedim(-1, 1)).movedim(1, -1)
        return self.norm(x + self.dropout(self.leave(self.dropout(F.relu(y)))))

    def column(self, x: Tensor, same: Tensor) -> Tensor:
        """(B, N, dim), a column of pixels: of the kernel only its middle column meets any.

        Args:
            x: pixels in their order.
            same: (B, N) 1 where a pixel and the one before it are neighbours, the first 0.
        """
        h = self.enter(x)
        above, own, below = self.local.weight[:, 0, :, 1].unbind(1)
        before = F.pad(h[:, :-1], (0, 0, 1, 0)) * same[..., None]
        after = F.pad(h[:, 1:] * same[:, 1:, None], (0, 0, 0, 1))
        y = before * above + h * own + after * below + self.local.bias
        return self.norm(x + self.dropout(self.leave(self.dropout(F.relu(y)))))


class GlobalContext(nn.Module):
    """x + W relu(LN(W c)), c the mean weighted by softmax(w x).

    Args:
        dim: width.
        ratio: hidden width over dim.
    """

    def __init__(self, dim: int, ratio: float = 16) -> None:
        super().__init__()
        hidden = int(dim * ratio)
        self.weigh = nn.Linear(dim, 1)
        self.enter, self.norm, self.leave = nn.Linear(dim, hidden), nn.LayerNorm(hidden), nn.Linear(hidden, dim)
        nn.init.kaiming_normal_(self.weigh.weight)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, dim) -> the same."""
        rows = x.flatten(1, 2)
        context = self.weigh(rows).softmax(1).mT @ rows
        return x + self.leave(F.relu(self.norm(self.enter(context))))[:, None]


class ContextSharing(nn.Module):
    """Fusion of a fine level.

    Args:
        dim: width of both maps.
        hidden: of the feed-forward network.
        dropout: in it.
    """

    def __init__(self, dim: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.join, self.context = nn.Linear(2 * dim, dim), GlobalContext(dim)
        self.feed = PostNormFeed(dim, hidden, dropout)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two maps (B, H, W, dim) -> one."""
        return self.feed(self.context(self.join(torch.cat([x, y], -1))))


class _Side(nn.Module):
    """Tokens of one side, and what its pixels make of them."""

    def __init__(self, dim: int, heads: int, hidden: int, tokens: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.weigh = nn.Linear(dim, tokens)
        self.qkv = nn.ModuleList(nn.Linear(dim, 3 * dim) for _ in range(depth))
        self.out = nn.ModuleList(nn.Linear(dim, dim) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth))
        self.feeds = nn.ModuleList(PostNormFeed(dim, hidden, dropout) for _ in range(depth))

    def forward(self, x: Tensor, gathered: Tensor, same: Tensor) -> Tensor:
        """Pixels in their order (B, N, dim), weighted ones (B, N, dim), neighbours (B, N) -> (B, N, dim)."""
        tokens = self.weigh(gathered).mT @ gathered
        for qkv, out, norm, feed in zip(self.qkv, self.out, self.norms, self.feeds, strict=True):
            (wq, wk, wv), (bq, bk, bv) = qkv.weight.chunk(3), qkv.bias.chunk(3)
            q, k, v = F.linear(x, wq, bq), F.linear(tokens, wk, bk), F.linear(tokens, wv, bv)
            q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
            y = attend(q, k, v, dropout=self.dropout if self.training else 0.0)
            y = out(y.transpose(1, 2).flatten(2))
            x = feed.column(norm(x + F.dropout(y, self.dropout, self.training)), same)
        return x


class GatherScatter(nn.Module):
    """Fusion of a coarse level.

    Args:
        dim: width of both maps.
        heads: of the attention.
        hidden: of the feed-forward networks.
        tokens: K of each side.
        depth: rounds of attention.
        dropout: in them.
        official: what was attended is dropped.
    """

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        hidden: int = 1024,
        tokens: int = 30,
        depth: int = 1,
        dropout: float = 0.0,
        official: bool = False,
    ) -> None:
        super().__init__()
        self.official = official
        self.join, self.heat = nn.Linear(2 * dim, dim), nn.Linear(dim, 1)
        self.sides = nn.ModuleList(_Side(dim, heads, hidden, tokens, depth, dropout) for _ in range(2))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two maps (B, H, W, dim) -> one."""
        joined = self.join(torch.cat([x, y], -1))
        if self.official:
            return joined
        rows = joined.flatten(1, 2)
        heat = self.heat(rows).sigmoid()
        front = heat[..., 0] >= 0.5
        # Foreground first, each side in reading order: pixels of a side stand together.
        order = (~front).to(torch.uint8).argsort(dim=1, stable=True)
        sorted_front = front.gather(1, order)
        same = F.pad((sorted_front[:, 1:] == sorted_front[:, :-1]).to(rows.dtype), (1, 0))
        places = order[..., None].expand_as(rows)
        pixels = rows.gather(1, places)
        made = [side(pixels, rows * share, same) for side, share in zip(self.sides, (heat, 1 - heat), strict=True)]
        chosen = torch.where(sorted_front[..., None], *made)
        both = front.any(1) & ~front.all(1)
        chosen = torch.where(both[:, None, None], chosen, pixels)
        return torch.empty_like(rows).scatter(1, places, chosen).view_as(joined)


class SaliencyHead(nn.Module):
    """SegFormer's head and two doublings.

    Args:
        channels: of the features, fine to coarse.
        dim: width E.
        dropout: of whole channels before the last layer.
    """

    def __init__(self, channels: Sequence[int], dim: int = 256, dropout: float = 0.1) -> None:
        super().__init__()
        self.fused = SegFormerHead(channels, 1, dim)
        self.fused.dropout, self.fused.out = nn.Identity(), nn.Identity()  # type: ignore[assignment]
        self.conv, self.dropout = ConvNorm(dim, dim // 4, 3), nn.Dropout2d(dropout)
        self.out = nn.Conv2d(dim // 4, 1, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps (B, h, w, C) -> (B, 1, 4 h_1, 4 w_1)."""
        x = self.conv(_doubled(self.fused(features)))
        return self.out(self.dropout(_doubled(x)))


def _doubled(x: Tensor) -> Tensor:
    return resize(x, (2 * x.shape[-2], 2 * x.shape[-1]))


class Isomer(nn.Module):
    """The whole network.

    Args:
        frame, flow: backbones of four levels, with the same widths.
        dim: width of the head.
        tokens: K of the two coarse levels.
        depth: rounds of attention there.
        dropout: in all of it.
        official: see `GatherScatter`.
    """

    def __init__(
        self,
        frame: Backbone,
        flow: Backbone,
        dim: int = 256,
        tokens: tuple[int, int] = (121, 30),
        depth: int = 1,
        dropout: float = 0.1,
        official: bool = False,
    ) -> None:
        super().__init__()
        if frame.channels != flow.channels:
            raise ValueError(f"Isomer: widths {frame.channels} and {flow.channels}; give two backbones that are alike")
        self.frame, self.flow = frame, flow
        one, two, three, four = frame.channels
        self.fine = nn.ModuleList(ContextSharing(width, 8 * width, dropout) for width in (one, two))
        self.coarse = nn.ModuleList(
            GatherScatter(width, 8, 8 * width, count, depth, dropout, official)
            for width, count in zip((three, four), tokens, strict=True)
        )
        self.head = SaliencyHead(frame.channels, dim, dropout)

    def forward(self, x: Tensor, flow: Tensor) -> Logits:
        """Frame and flow as an image, (B, 3, H, W) each -> logits (B, 1, H, W)."""
        pairs = zip([*self.fine, *self.coarse], self.frame(x), self.flow(flow), strict=True)
        fused = [fuse(a, b) for fuse, a, b in pairs]
        return Logits(resize(self.head(fused), (x.shape[-2], x.shape[-1])))
