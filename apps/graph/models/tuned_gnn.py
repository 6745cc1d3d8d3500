"""Classic graph networks with what transformers take for granted (Luo et al., NeurIPS 2024, "Classic GNNs are strong
baselines", arXiv 2406.08993):

    x <- dropout(relu(norm(convolution(x) + W x)))    a layer; norm and W x where asked for
    y = W x  or, with all layers summed up,  W (x_1 + ... + x_L)

x (N, F) dense or sparse, graph -> (N, classes). With a residual and BatchNorm, 10 to 15 layers learn what attention is
said to be needed for. An input layer, where there is one, has dropout behind it and no activation, as in the release.
The release keeps parameters that its forward never uses (norms that are switched off, `pre_lns`); they are not here.
Its graphs are symmetric with an edge from every node to itself, for all three convolutions.
"""

__all__ = ["GNNLayer", "TunedGNN"]

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from apps.graph.data.items import Batch, SparseRows
from apps.graph.models.classifier import NodeClassifier
from apps.graph.models.convolutions import Convolution, GCNConv
from apps.graph.models.relation import Graphs, Relation, layers_of, linear, relations, sliced


class GNNLayer(nn.Module):
    """dropout(relu(norm(convolution(x) + W x))); the arguments are those of `TunedGNN`."""

    def __init__(
        self,
        channels: int,
        hidden: int,
        convolution: Callable[[int, int], Convolution],
        norm: Callable[[int], nn.Module] | None,
        residual: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.convolution = convolution(channels, hidden)
        self.residual = nn.Linear(channels, hidden) if residual else None
        self.norm = nn.Identity() if norm is None else norm(hidden)
        self.dropout = dropout

    def forward(self, x: Tensor | SparseRows, relation: Relation) -> Tensor:
        y = self.convolution(x, relation)
        if self.residual is not None:
            y = y + linear(relation.own(x), self.residual.weight, self.residual.bias)
        return F.dropout(F.relu(self.norm(y)), self.dropout, self.training)


class TunedGNN(NodeClassifier):
    """Layers of one convolution.

    Args:
        channels: features of a node.
        classes: numbers that are predicted.
        hidden: width.
        depth: number of layers.
        convolution: made from (channels, width).
        norm: made from the width: nn.BatchNorm1d, nn.LayerNorm; None for none.
        residual: add a linear layer of x to each convolution.
        sum_layers: predict from the sum of all layers instead of the last.
        enter: a linear layer before the first convolution.
        dropout: behind each layer.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        hidden: int = 64,
        depth: int = 3,
        *,
        convolution: Callable[[int, int], Convolution] = GCNConv,
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm1d,
        residual: bool = True,
        sum_layers: bool = False,
        enter: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.sum_layers, self.dropout = sum_layers, dropout
        self.enter = nn.Linear(channels, hidden) if enter else None
        widths = [hidden if enter else channels] + [hidden] * (depth - 1)
        self.layers = nn.ModuleList(GNNLayer(width, hidden, convolution, norm, residual, dropout) for width in widths)
        self.out = nn.Linear(hidden, classes)

    def forward(self, x: Tensor | SparseRows, graph: Graphs, rows: int | None = None) -> Tensor:
        """The prediction of every row of the last layer's relation.

        Args:
            x: (M, channels), of the columns of the first layer's relation.
            graph: one for all layers, or one each (`layers_of`).
            rows: nodes at a time, layer by layer, for inference on graphs whose activations do not fit.
        """
        if self.enter is not None:
            x = F.dropout(linear(x, self.enter.weight, self.enter.bias), self.dropout, self.training)
        total: Tensor | None = None
        for layer, relation in zip(self.layers, layers_of(graph, len(self.layers)), strict=True):
            x = sliced(layer, x, relation, rows)
            total = x if total is None or not self.sum_layers else relation.own(total) + x  # type: ignore[operator]
        assert total is not None
        return self.out(total)

    def classify(self, batch: Batch) -> Tensor:
        return self(batch.x, relations(batch, len(self.layers)), batch.rows)[batch.targets]
