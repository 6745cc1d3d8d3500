"""Edge convolution (DGCNN, Wang et al. 2019): the largest of what a point's edges say,

    y_i = max_j act(W [x_i, x_j - x_i])  over the neighbours j of i,  for an activation that rises

Shapes: own (..., M, C), near (..., N, C), rows (..., M, K) of `near`, -1 for none -> (..., M, C).

Decided: W [x_i, x_j - x_i] = (W_1 - W_2) x_i + W_2 x_j is two products a point instead of one an edge, and what rises
may be applied to the largest: y_i = act(own_i + max_j near_j). A point without neighbours gets own_i.
"""

__all__ = ["edge_conv", "edge_conv_reference", "edge_parts", "gather_rows"]

import torch
from torch import Tensor


def gather_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Rows (..., M, K) of x (..., N, C) -> (..., M, K, C); row -1 gives some row, to be left out later."""
    rows = rows.clamp(min=0)
    if rows.ndim == 2:
        return x.index_select(-2, rows.flatten()).unflatten(-2, rows.shape)
    flat = rows.flatten(-2)[..., None].expand(*rows.shape[:-2], -1, x.shape[-1])
    return x.gather(-2, flat).unflatten(-2, rows.shape[-2:])


def edge_parts(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The weight (out, 2 C) of [x_i, x_j - x_i] as those of x_i and of x_j."""
    own, step = weight.chunk(2, -1)
    return own - step, step


def edge_conv(own: Tensor, near: Tensor, rows: Tensor) -> Tensor:
    """own_i plus the largest of its neighbours, before the activation."""
    values = gather_rows(near, rows)
    empty = (rows < 0)[..., None]
    largest = values.masked_fill(empty, -torch.inf).amax(-2) if rows.shape[-1] else torch.zeros_like(own)
    if rows.shape[-1]:
        largest = largest.masked_fill(empty.all(-2), 0)
    return own + largest


def edge_conv_reference(x: Tensor, weight: Tensor, bias: Tensor, rows: Tensor) -> Tensor:
    """The linear layer on every edge, one point at a time: x (N, C), weight (out, 2 C), bias (out,), rows (M, K)."""
    made = []
    for i, row in enumerate(rows):
        others = x[row[row >= 0]]
        edges = torch.cat([x[i].expand_as(others), others - x[i]], -1) @ weight.T + bias
        made.append(edges.amax(0) if len(edges) else x[i] @ edge_parts(weight)[0].T + bias)
    return torch.stack(made)
