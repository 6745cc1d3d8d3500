"""Features spread over the graph before any training: what SIGN, LargeGT and NAGphormer learn from.

    symmetric  P = D^-1/2 A D^-1/2, D in-degrees at both ends, 0 where there are none
    averaged   P = D^-1 A, the mean over neighbours; averaged_back the same of the graph turned round
    tokens     P_ij = (A + I)_ij / sqrt(column sum_i * row sum_j of A + I), LargeGT's and NAGphormer's; symmetric on an
               undirected graph, and on a directed one as their releases compute it

x (N, F) -> (N, F), no parameters; a step costs E F.
"""

__all__ = ["averaged", "averaged_back", "spread", "symmetric", "tokens"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from core.ops.csr import Csr, csr_mean, csr_sum

Step = Callable[[Tensor, Csr], Tensor]


def symmetric(x: Tensor, csr: Csr) -> Tensor:
    """D^-1/2 A D^-1/2 x."""
    degrees = csr.degrees.to(x.dtype)[:, None]
    scale = torch.where(degrees > 0, degrees.clamp(min=1).rsqrt(), 0)
    return csr_sum(x * scale, csr) * scale


def averaged(x: Tensor, csr: Csr) -> Tensor:
    """D^-1 A x."""
    return csr_mean(x, csr)


def averaged_back(x: Tensor, csr: Csr) -> Tensor:
    """D^-1 A x of the transposed A: the mean over those that a node leads to."""
    return csr_mean(x, csr.transposed)


def tokens(x: Tensor, csr: Csr) -> Tensor:
    """The normalisation of hop tokens; A + I has a 2 where there is an edge from a node to itself."""
    here, there = ((degrees + 1).to(x.dtype).rsqrt()[:, None] for degrees in (csr.transposed.degrees, csr.degrees))
    scaled = x * there
    return (csr_sum(scaled, csr) + scaled) * here


def spread(x: Tensor, csr: Csr, hops: int, step: Step = symmetric) -> Sequence[Tensor]:
    """[x, P x, ..., P^hops x]."""
    made = [x]
    for _ in range(hops):
        made.append(step(made[-1], csr))
    return made
