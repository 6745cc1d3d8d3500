"""Window attention of point clouds as the releases move their data (transcriptions of operations, not of code).

rows_by_unique       windows as rows (sample, y, x), numbered by `unique` over rows
outer_products       linear attention by an outer product a voxel, added up a window (what stands in for
                     ScatterFormer's GPU kernels on a CPU)
PeerStage            a stage of ScatterFormer on both, depthwise convolutions over masked tables
PeerFlatFormer       FlatFormer's encoder: rows and positions gathered into groups in every layer, queries, keys and
                     values projected there, padding carried through the linear layers, rows scattered back
"""

__all__ = ["PeerFlatFormer", "PeerStage", "outer_products", "rows_by_unique"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.pointcloud.models.flatformer import FlatFormer, plane_positions
from apps.pointcloud.models.scatterformer import EPS, CrossWindow, ScatterFormerStage
from benchmarks.peers.sparse import masked_table, table_of
from core.ops.segment_linear import segment_linear_attention_reference
from core.sparse import Sites, SparseTensor
from core.sparse.flattened import _order, groups


def rows_by_unique(coords: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """The order of rows (sample, z, y, x) window by window, and the number of rows in each window."""
    rows = torch.stack([coords[:, 0], coords[:, 2] // window, coords[:, 3] // window], 1)
    _, numbers, counts = torch.unique(rows, return_inverse=True, return_counts=True, dim=0)
    return numbers.argsort(stable=True), counts


def outer_products(q: Tensor, k: Tensor, v: Tensor, counts: Tensor) -> Tensor:
    """Linear attention (N, heads, d) inside of windows."""
    offsets = F.pad(counts.cumsum(0), (1, 0))
    return segment_linear_attention_reference(q, k, v, offsets, offsets, eps=EPS)


class PeerStage(nn.Module):
    """A stage with the weights of ours."""

    def __init__(self, ours: ScatterFormerStage) -> None:
        super().__init__()
        self.ours = ours

    def forward(self, x: SparseTensor) -> SparseTensor:
        order, counts = rows_by_unique(x.coords, self.ours.window)
        tables = [table_of(x.sites, conv.kernel) for conv in self.ours.mixers[0].convs]
        for norm, attention, mixer in zip(self.ours.norms, self.ours.attentions, self.ours.mixers, strict=True):
            rows = norm(x.features)[order]
            q, k, v = (
                linear(rows).unflatten(-1, (attention.heads, -1)) for linear in (attention.q, attention.k, attention.v)
            )
            y = attention.out(outer_products(q.relu(), k.relu(), v, counts).flatten(1))
            features = torch.empty_like(y)
            features[order] = y
            x = x.replace(self._mixed(mixer, x.replace(x.features + features), tables))
        return x

    def _mixed(self, mixer: CrossWindow, x: SparseTensor, tables: list[tuple[Tensor, Tensor]]) -> Tensor:
        y = mixer.norm(x.features)
        *quarters, rest = y.chunk(4, -1)
        mixed = [
            masked_table(x.replace(part.contiguous()), conv.weight, *table)
            for conv, part, table in zip(mixer.convs, quarters, tables, strict=True)
        ]
        y = y + torch.cat([*mixed, rest], -1)
        return y + mixer.leave(F.relu(mixer.enter(mixer.mlp_norm(y))))


class PeerFlatFormer(nn.Module):
    """The encoder with the weights of ours."""

    def __init__(self, ours: FlatFormer) -> None:
        super().__init__()
        self.ours = ours

    def forward(self, x: SparseTensor) -> SparseTensor:
        rows, sites = x.features.clone(), x.sites
        cut = groups(sites.offsets, self.ours.size)
        slots = cut.slots.flatten()
        orders = [_order(sites, self.ours.window, shifted, outer) for outer in (0, 1) for shifted in (False, True)]
        for block in range(len(self.ours.layers) // 4):
            position = plane_positions(sites, rows.shape[1]).to(rows)
            for order, layer in zip(orders, self.ours.layers[4 * block : 4 * block + 4], strict=True):
                made = self._layer(layer, rows[order][slots], position[order][slots])
                rows = torch.empty_like(rows).index_put((order,), made[cut.place])
        return x.replace(rows)

    def _layer(self, layer: nn.Module, x: Tensor, position: Tensor) -> Tensor:
        dim, size = x.shape[1], self.ours.size
        both = (x + position).view(-1, size, dim)
        weight, bias = layer.qk.weight, layer.qk.bias
        parts = (
            F.linear(both, weight[:dim], bias[:dim]),
            F.linear(both, weight[dim:], bias[dim:]),
            layer.v(x.view(-1, size, dim)),
        )
        q, k, v = (t.unflatten(-1, (layer.heads, -1)).transpose(1, 2) for t in parts)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        y = layer.out((weights @ v).transpose(1, 2).reshape(-1, dim))
        x = layer.norm(x + y)
        return layer.mlp_norm(x + layer.leave(layer.activation(layer.enter(x))))


def fresh(sites: Sites) -> Sites:
    """The same sites without anything computed from them, as a new frame has them."""
    return Sites(sites.coords, sites.grid, sites.batch_size)
