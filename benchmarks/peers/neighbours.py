"""Neighbours drawn with torch alone, a frontier at a time: what can be done without a compiled loop.

Floyd's method over all nodes at once (pick number k of every node in step k), new ids found by a slot of every node and
a sort of those met for the first time. pyg-lib, which draws in C++, has no wheel in the package index.
"""

__all__ = ["torch_sample"]

import torch
from torch import Tensor


def torch_sample(
    offsets: Tensor, neighbours: Tensor, seeds: Tensor, fan_out: tuple[int, ...], slots: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes, rows and columns of a neighbourhood without replacement.

    Args:
        offsets, neighbours: rows of edges into each node.
        seeds: (S,) different ids.
        fan_out: edges into a node at each hop.
        slots: (N,) int64 filled with -1; so it is left.
    """
    nodes, begin, all_rows, all_columns = seeds, 0, [], []
    slots[seeds] = torch.arange(len(seeds))
    for fan in fan_out:
        frontier = nodes[begin:]
        start = offsets[frontier]
        degree = offsets[frontier + 1] - start
        picks = torch.full((len(frontier), fan), -1)
        small = degree <= fan
        steps = torch.arange(fan)
        picks[small] = torch.where(steps < degree[small, None], steps, -1)
        large = ~small
        d, chosen = degree[large], torch.full((int(large.sum()), fan), -1)
        for k in range(fan):
            drawn = (torch.rand(len(d), dtype=torch.float64) * (d - fan + k + 1)).long()
            again = (chosen[:, :k] == drawn[:, None]).any(1)
            chosen[:, k] = torch.where(again, d - fan + k, drawn)
        picks[large] = chosen
        taken = picks >= 0
        sources = neighbours[(start[:, None] + picks)[taken]].long()
        rows = (torch.arange(len(frontier)) + begin)[:, None].expand_as(picks)[taken]
        new = sources[slots[sources] < 0].unique()
        slots[new] = torch.arange(len(nodes), len(nodes) + len(new))
        begin, nodes = len(nodes), torch.cat([nodes, new])
        all_rows.append(rows)
        all_columns.append(slots[sources])
    slots[nodes] = -1
    return nodes, torch.cat(all_rows), torch.cat(all_columns)
