"""Softmax attention whose relative positions depend on content: tables for queries, keys and values (Stratified
Transformer, Lai et al. 2022; SphereFormer, ConDaFormer 2023). For query i and key j of a group, in cells u_i and u_j,

    logit_ij = s q_i . k_j + s q_i . T_q[r] + k_j . T_k[r]        r = u_i - u_j + cells - 1, an axis each
    y_i      = sum_j softmax_j(logit_ij) (v_j + T_v[r])           T[r] = sum over axes of table[r_axis, axis]

Shapes: q, k (B, *grid, H, d), v (B, *grid, H, e), cells (*grid, D) int64, tables (2 cells - 1, D, H, d or e)
-> (B, *grid, H, e). The plan says who meets whom.

Decided: no vector a pair. Along an axis r depends on j through its cell alone, so with a_i[c] = q_i . table[u_i - c]
the second term is a_i . onehot(u_j), the third likewise with the roles turned round, and the sums of weights over the
keys of a cell are one-hot values: all three are ordinary attention with wider heads,

    [s q, a, onehot(u)] . [k, onehot(u), b],   values [v, onehot(u)]

and the tables are read once a token. Groups of n tokens keep n^2 scores, never n^2 d.
"""

__all__ = ["table_attend", "table_attend_reference"]

from collections.abc import Sequence

import torch
from torch import Tensor

from core.ops.groups import attend_groups
from core.partitions.plan import IndexPlan, Plan


def table_attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cells: Tensor,
    extents: Sequence[int],
    tables: tuple[Tensor, Tensor, Tensor],
    plan: Plan,
    *,
    scale: float | None = None,
) -> Tensor:
    """Attention inside the groups of a plan with tables read by differences of cells.

    Args:
        q, k, v: tokens split into heads.
        cells: the cell of each token an axis, from 0.
        extents: number of cells an axis inside a group, at most that of the tables.
        tables: for queries, keys and values.
        plan: who meets whom.
        scale: factor of the queries, d ** -0.5 by default.

    Returns:
        (B, *grid, H, e), 0 where a query has no key.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    of_q, of_k, of_v = (_rows(table, extents) for table in tables)
    slots, own = _slots(cells, extents)
    heads = q.shape[-2]
    hot = torch.zeros(*cells.shape[:-1], sum(extents), dtype=q.dtype, device=q.device).scatter_(-1, own, 1)
    hot = hot[..., None, :].expand(*q.shape[:-1], -1)
    slots = slots[..., None, :].expand(*q.shape[:-2], heads, -1)
    q = q * scale
    # Key cells rise where differences fall: the table of the queries is read from its end.
    ahead = torch.einsum("...hd,lhd->...hl", q, _reversed(of_q, extents)).gather(-1, slots)
    behind = torch.einsum("...hd,lhd->...hl", k, of_k).gather(-1, slots)
    hot = hot.to(ahead.dtype)
    y = attend_groups(
        torch.cat([q, ahead, hot], -1), torch.cat([k, hot, behind], -1), torch.cat([v, hot], -1), plan, scale=1.0
    )
    y, shares = y.split([v.shape[-1], sum(extents)], -1)
    spread = shares.new_zeros(*shares.shape[:-1], len(of_v)).scatter(-1, slots, shares)
    return y + torch.einsum("...hl,lhe->...he", spread, _reversed(of_v, extents))


def table_attend_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cells: Tensor,
    tables: tuple[Tensor, Tensor, Tensor],
    plan: IndexPlan,
    *,
    scale: float | None = None,
) -> Tensor:
    """The same by a loop over groups, with the sums of the tables for every pair."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    grid, cells = q.shape[1:-2], cells.flatten(0, -2)
    q, k, v = (t.flatten(1, -3) for t in (q, k, v))
    y = torch.zeros_like(v)
    for queries, keys, bucket in zip(plan.queries, plan.keys, plan.buckets, strict=True):
        for number, (some, others) in enumerate(zip(queries, keys, strict=True)):
            i, j = some[some >= 0], others[others >= 0]
            seen = torch.ones(len(i), len(j), dtype=torch.bool, device=q.device)
            if bucket.allowed is not None:
                own = bucket.allowed[number if len(bucket.allowed) > 1 else 0].expand(len(some), -1)
                seen = own[some >= 0][:, others >= 0]
            rows = cells[i][:, None] - cells[j] + len(tables[0]) // 2
            of_q, of_k, of_v = (sum(t[rows[..., a], a] for a in range(t.shape[1])) for t in tables)
            logits = torch.einsum("bihd,bjhd->bhij", q[:, i] * scale, k[:, j])
            logits = logits + torch.einsum("bihd,ijhd->bhij", q[:, i] * scale, of_q)
            logits = logits + torch.einsum("bjhd,ijhd->bhij", k[:, j], of_k)
            weights = logits.masked_fill(~seen, -torch.inf).softmax(-1)
            mixed = torch.einsum("bhij,bjhe->bihe", weights, v[:, j]) + torch.einsum("bhij,ijhe->bihe", weights, of_v)
            y = y.index_copy(1, i, mixed)
    return y.unflatten(1, grid)


def _rows(table: Tensor, extents: Sequence[int]) -> Tensor:
    """(sum of 2 extent - 1, H, d): the differences that occur, axis behind axis."""
    centre = len(table) // 2
    return torch.cat([table[centre - n + 1 : centre + n, axis] for axis, n in enumerate(extents)])


def _reversed(rows: Tensor, extents: Sequence[int]) -> Tensor:
    return torch.cat([part.flip(0) for part in rows.split([2 * n - 1 for n in extents])])


def _slots(cells: Tensor, extents: Sequence[int]) -> tuple[Tensor, Tensor]:
    """For each token the rows (*grid, sum of extents) that it meets, and the places (*grid, D) of its own cells."""
    rows, own, row, place = [], [], 0, 0
    for cell, n in zip(cells.unbind(-1), extents, strict=True):
        rows.append(row + n - 1 - cell[..., None] + torch.arange(n, device=cells.device))
        own.append(place + cell)
        row, place = row + 2 * n - 1, place + n
    return torch.cat(rows, -1), torch.stack(own, -1)
