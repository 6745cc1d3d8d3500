"""The three classic graph convolutions, equal to PyG's.

    GCNConv   y_i = sum_j (d_i d_j)^-1/2 W x_j + b over the edges into i and one from i to itself, d in-degrees with it
              (Kipf and Welling 2017)
    SAGEConv  y_i = W_l mean_j x_j + b + W_r x_i; the mean of nothing is 0 (Hamilton et al. 2017)
    GATConv   y_i = sum_j softmax_j(leaky(s . W x_j + t . W x_i)) W x_j, a head at a time; 0 without edges
              (Velickovic et al. 2018)

x (M, C) or sparse rows, relation R x M -> (R, width). No convolution adds edges but GCN's, as published: for the others
loops are a matter of the graph. Sums go before the linear layer where that is narrower, which changes nothing else.
"""

__all__ = ["Convolution", "GATConv", "GCNConv", "SAGEConv", "normalised_sum"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.graph.data.items import SparseRows
from apps.graph.models.relation import Relation, linear
from core.ops.csr import csr_mean, csr_sum
from core.ops.csr_attend import csr_attend, csr_softmax


def normalised_sum(x: Tensor, relation: Relation, loops: bool = False) -> Tensor:
    """D^-1/2 A D^-1/2 x, (M, C) -> (R, C); with `loops`, A has an edge from each node to itself."""
    source, target, loop = (t.to(x.dtype)[:, None] for t in relation.scales(loops))
    y = csr_sum(x * source, relation.csr) * target
    own = relation.own(x)
    return torch.addcmul(y, own, loop) if loops else y  # type: ignore[arg-type]


class Convolution(nn.Module):
    """Base of the three: (channels, width) and what else has a default; forward(x, relation)."""

    def forward(self, x: Tensor | SparseRows, relation: Relation) -> Tensor:
        """(M, channels) -> (R, width)."""
        raise NotImplementedError


class GCNConv(Convolution):
    """The normalised sum over neighbours and the node itself.

    Args:
        channels: of x.
        width: of the result.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, channels))
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor | SparseRows, relation: Relation) -> Tensor:
        width, channels = self.weight.shape
        if isinstance(x, Tensor) and channels < width:
            return linear(normalised_sum(x, relation, True), self.weight, self.bias)
        return normalised_sum(linear(x, self.weight), relation, True) + self.bias


class SAGEConv(Convolution):
    """The mean of the neighbours beside the node itself.

    Args:
        channels: of x.
        width: of the result.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.neighbours = nn.Linear(channels, width)
        self.node = nn.Linear(channels, width, bias=False)

    def forward(self, x: Tensor | SparseRows, relation: Relation) -> Tensor:
        weight, bias = self.neighbours.weight, self.neighbours.bias
        if isinstance(x, Tensor) and weight.shape[1] <= weight.shape[0]:
            mean = linear(csr_mean(x, relation.csr), weight, bias)
        else:
            mean = csr_mean(linear(x, weight), relation.csr) + bias
        return mean + linear(relation.own(x), self.node.weight)


class GATConv(Convolution):
    """Attention over the neighbours, heads side by side.

    Args:
        channels: of x.
        width: of the result, all heads together.
        heads: number of them; divides the width.
        slope: of the leaky step.
        dropout: of attention weights.
    """

    def __init__(self, channels: int, width: int, heads: int = 1, slope: float = 0.2, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"GATConv: width {width} and {heads} heads; give a number of heads that divides it")
        self.slope, self.dropout = slope, dropout
        self.weight = nn.Parameter(torch.empty(width, channels))
        self.source, self.target = (nn.Parameter(torch.empty(heads, width // heads)) for _ in range(2))
        for weight in self.parameters():
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor | SparseRows, relation: Relation) -> Tensor:
        rows = linear(x, self.weight).unflatten(-1, self.source.shape)
        source, target = (rows * self.source).sum(-1), (relation.own(rows) * self.target).sum(-1)  # type: ignore[operator]
        csr = relation.csr
        if not self.training or not self.dropout:
            return csr_attend(rows, source, target, csr, self.slope).flatten(1)
        # Weights that may be dropped must exist, a number for every edge and head.
        logits = source.index_select(0, csr.columns) + target.index_select(0, csr.numbers)
        weights = F.dropout(csr_softmax(F.leaky_relu(logits, self.slope), csr), self.dropout)
        return csr_sum(rows, csr, weights).flatten(1)
