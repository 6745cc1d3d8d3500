"""kMaX-DeepLab's transformer decoder (Yu et al. 2022): queries as centres of clusters of pixels.

    p = N W gelu(F),  q = N W Q                            pixels and queries of a layer
    masks = predictor(q, p)                                also a result, for the losses
    Q += k-means(masks, p)                                 every pixel to its best query (`core.mixers.KMeansUpdate`)
    Q  = gelu(Q + N W attention(q))                        among queries, from q as it was before
    Q  = gelu(Q + N W gelu(N W Q))                         2048 wide inside

Attention has no 1 / sqrt(d) but a batch norm of its scores, one channel a head, and one of its result, then GELU. The
choice of queries has no gradient: q and p learn by the losses on each layer's masks, values by what follows. Two layers
on each of the strides 32, 16 and 8; queries begin as a table. The final result is predicted on the finest map.

Shapes: maps (B, h, w, C), coarse to fine, queries (B, N, dim).
"""

__all__ = ["KMaXLayer", "QueryAttention", "TransformerDecoder"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.segmentation.models.kmax_heads import Prediction, Predictor
from apps.vision.segmentation.models.kmax_layers import ConvNorm, truncated
from core.blocks import DropPath
from core.mixers.kmeans_attention import KMeansUpdate
from core.mixers.position_sensitive import TokenBatchNorm


class QueryAttention(nn.Module):
    """gelu(norm(softmax(norm(q k^T)) v)).

    Args:
        dim: width of the values, all heads together.
        heads: number of heads.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.score_norm, self.norm = TokenBatchNorm(heads), TokenBatchNorm(dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, heads, N, d) each -> (B, N, dim)."""
        scores = self.score_norm((q @ k.transpose(2, 3)).movedim(1, -1)).movedim(-1, 1)
        weights = scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(-1).to(v.dtype)
        return F.gelu(self.norm((weights @ v).transpose(1, 2).flatten(2)))


class KMaXLayer(nn.Module):
    """One layer.

    Args:
        pixel_dim: width of the map.
        classes: without void.
        dim: width of p and q.
        query_dim: width of the queries; dim by default.
        key_dim: width of q and k of attention, all heads together; dim / 2 by default.
        value_dim: width of values; dim by default.
        heads: of attention.
        hidden: width inside the feed-forward layers.
        mask_dim: width in which queries and pixels meet.
        mask_gain: first size of the logits of masks.
        drop_path: share of samples whose branches are left out in training.
    """

    def __init__(
        self,
        pixel_dim: int,
        classes: int,
        dim: int = 256,
        *,
        query_dim: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        heads: int = 8,
        hidden: int = 2048,
        mask_dim: int = 128,
        mask_gain: float = 0.1,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        query_dim, key_dim, value_dim = query_dim or dim, key_dim or dim // 2, value_dim or dim
        self.heads, self.widths = heads, [key_dim, key_dim, value_dim]
        self.pixels, self.queries = ConvNorm(pixel_dim, dim, act=True), ConvNorm(query_dim, dim, act=True)
        self.predictor = Predictor(dim, classes, dim, mask_dim, mask_gain)
        self.kmeans = KMeansUpdate(query_dim, dim, value_dim=value_dim, gain=0.0)
        truncated(self.kmeans.v.weight, dim**-0.5)
        truncated(self.kmeans.out.weight, (2 / value_dim) ** 0.5)
        self.qkv = ConvNorm(dim, sum(self.widths), std=dim**-0.5)
        self.attention = QueryAttention(value_dim, heads)
        self.attended = ConvNorm(value_dim, query_dim, gain=0.0)
        self.feed_in = ConvNorm(query_dim, hidden, act=True)
        self.feed_out = ConvNorm(hidden, query_dim, gain=0.0)
        self.drop_path = DropPath(drop_path)

    def forward(
        self, x: Tensor, queries: Tensor, mask: Tensor | None = None, voters: Tensor | None = None
    ) -> tuple[Tensor, Prediction]:
        """New queries, and what the old ones predict.

        Args:
            x: (B, h, w, pixel_dim).
            queries: (B, N, query_dim).
            mask: (B, h, w) boolean, pixels that convolutions and norms see.
            voters: (B, h, w) boolean, pixels that are given to queries.
        """
        p, q = self.pixels(F.gelu(x), mask), self.queries(queries)
        found = self.predictor(q, q, p, mask)
        real = None if voters is None else voters.flatten(1)
        update = self.kmeans(found.masks.flatten(2), p.flatten(1, 2), context_mask=real)
        queries = queries + self.drop_path(update)
        parts = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(q).split(self.widths, -1))
        queries = F.gelu(queries + self.drop_path(self.attended(self.attention(*parts))))
        return F.gelu(queries + self.drop_path(self.feed_out(self.feed_in(queries)))), found


class TransformerDecoder(nn.Module):
    """All layers, and the final prediction.

    Args:
        channels: of the pixel decoder's results, coarse to fine.
        classes: without void.
        queries: number of segments that can be found in an image.
        depths: layers on each of the coarsest maps.
        dim: width of the queries.
        heads, hidden, mask_dim, mask_gain, drop_path: of the layers.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        queries: int = 128,
        depths: Sequence[int] = (2, 2, 2),
        dim: int = 256,
        heads: int = 8,
        hidden: int = 2048,
        mask_dim: int = 128,
        mask_gain: float = 0.1,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.levels = [level for level, depth in enumerate(depths[: len(channels)]) for _ in range(depth)]
        self.layers = nn.ModuleList(
            KMaXLayer(
                channels[level],
                classes,
                dim,
                heads=heads,
                hidden=hidden,
                mask_dim=mask_dim,
                mask_gain=mask_gain,
                drop_path=drop_path,
            )
            for level in self.levels
        )
        self.centres = nn.Parameter(torch.empty(queries, dim))
        truncated(self.centres, 1.0)
        self.masks, self.classes = ConvNorm(dim, dim, act=True), ConvNorm(dim, dim, act=True)
        self.predictor = Predictor(channels[-1], classes, dim, mask_dim, mask_gain)

    def forward(
        self,
        maps: Sequence[Tensor],
        masks: Sequence[Tensor | None] | None = None,
        voters: Sequence[Tensor | None] | None = None,
    ) -> list[Prediction]:
        """What each layer predicts, on its own map, and at last the final result.

        Args:
            maps: (B, h, w, C), coarse to fine.
            masks: (B, h, w) boolean each, pixels that convolutions and norms see; all by default.
            voters: (B, h, w) boolean each, pixels that are given to queries; all by default.
        """
        none = [None] * len(maps)
        real, votes = masks or none, voters or none
        queries = self.centres.expand(len(maps[0]), -1, -1)
        found = []
        for layer, level in zip(self.layers, self.levels, strict=True):
            queries, prediction = layer(maps[level], queries, real[level], votes[level])
            found.append(prediction)
        found.append(self.predictor(self.masks(queries), self.classes(queries), maps[-1], real[-1]))
        return found
