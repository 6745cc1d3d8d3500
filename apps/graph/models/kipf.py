"""The two networks that the citation graphs are known by.

    GCN  y = P drop(relu(P drop(x) W_1 + b)) W_2 + b, P = D^-1/2 (A + I) D^-1/2  (Kipf & Welling 2017, arXiv 1609.02907)
    GAT  the same form with attention over neighbours: 8 heads side by side, ELU, then heads averaged  (Velickovic et
         al. 2018, arXiv 1710.10903); dropout of the attention weights too

x (N, F) dense or sparse, graph -> (N, classes). Later networks put norms, residuals and linear layers around the same
convolutions (`TunedGNN`); on 140 labels these two are hard to beat.
"""

__all__ = ["GAT", "GCN"]

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.graph.data.items import Batch, SparseRows
from apps.graph.models.classifier import NodeClassifier
from apps.graph.models.convolutions import GATConv, GCNConv
from apps.graph.models.relation import Graphs, dropped, layers_of, relations, sliced


class GCN(NodeClassifier):
    """Layers of the normalised sum.

    Args:
        channels: features of a node.
        classes: numbers that are predicted.
        hidden: width.
        depth: number of layers.
        dropout: before each.
    """

    def __init__(self, channels: int, classes: int, hidden: int = 16, depth: int = 2, dropout: float = 0.5) -> None:
        super().__init__()
        self.dropout = dropout
        widths = [channels, *[hidden] * (depth - 1), classes]
        self.layers = nn.ModuleList(GCNConv(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor | SparseRows, graph: Graphs, rows: int | None = None) -> Tensor:
        """(M, channels) -> (R, classes); `rows` at a time, layer by layer, for inference on large graphs."""
        for n, (layer, relation) in enumerate(zip(self.layers, layers_of(graph, len(self.layers)), strict=True)):
            x = dropped(F.relu(x) if n else x, self.dropout, self.training)  # type: ignore[arg-type]
            x = sliced(layer, x, relation, rows)
        assert isinstance(x, Tensor)
        return x

    def classify(self, batch: Batch) -> Tensor:
        return self(batch.x, relations(batch, len(self.layers)), batch.rows)[batch.targets]

    def heads(self) -> list[nn.Module]:
        return [self.layers[-1]]


class GAT(NodeClassifier):
    """Two layers of attention over neighbours.

    Args:
        channels: features of a node.
        classes: numbers that are predicted.
        head_dim: width of a head of the first layer.
        heads: of the first layer, side by side.
        out_heads: of the second, averaged.
        dropout: before each layer, and of the attention weights.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        head_dim: int = 8,
        heads: int = 8,
        out_heads: int = 1,
        dropout: float = 0.6,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.first = GATConv(channels, heads * head_dim, heads, dropout=dropout)
        self.second = GATConv(heads * head_dim, classes * out_heads, out_heads, dropout=dropout)
        self.biases = nn.ParameterList([torch.zeros(heads * head_dim), torch.zeros(classes)])

    def forward(self, x: Tensor | SparseRows, graph: Graphs) -> Tensor:
        """(M, channels) -> (R, classes)."""
        one, two = layers_of(graph, 2)
        y = F.elu(self.first(dropped(x, self.dropout, self.training), one) + self.biases[0])
        y = self.second(F.dropout(y, self.dropout, self.training), two)
        return y.unflatten(1, (self.second.source.shape[0], -1)).mean(1) + self.biases[1]

    def classify(self, batch: Batch) -> Tensor:
        return self(batch.x, relations(batch, 2))[batch.targets]

    def heads(self) -> list[nn.Module]:
        return [self.second]
