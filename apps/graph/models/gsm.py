"""GSM++ (Behrouz et al., ICML 2025, "Best of Both Worlds", arXiv 2411.15671): sequences from a hierarchy of clusters, a
local encoder, two Mamba layers and a Transformer block over the sequences.

    h = local encoder of the whole graph;  token of a cluster = mean of its members' h + vector of its level
    depth first    the path root -> node of every node is its sequence; the node's output stands at its end
    breadth first  the clusters of each level in the order of the hierarchy, a sequence a level; a node's output is the
                   mean over levels of what stands at its cluster
    hops           P^4 h, ..., P h, h of every node is its sequence
    random walks   some walks that end at the node are its sequences, whose outputs at the node are averaged
    y = W [h, sequence encoding]; with several tokenisations a router chooses two for each node

No code was published.  Published: the three stages, clusters by Boruvka-style joining (`apps.graph.hac`), the order of
Mamba and Transformer, positions as distances in the tree, top 2 of sigmoid(x W_r).  Not published, and chosen here:
- the encoder is layers of GCN with residual and BatchNorm on the whole graph instead of on each cluster's subgraph;
- similarity for the tree is the cosine of the features given to `ClusterTree`, which is built once;
- depth first runs Mamba on the tree (`TreeMamba`), exact with 1.3 N tokens; its Transformer block has one query a node,
  its own token, on its own path, and distances are vectors of the level;
- breadth first cuts a level into windows of 128, the second Mamba runs backwards, and the attention has a bias a head
  by how many levels up two clusters meet;
- walks are 4 of 8 nodes, drawn anew in every step of training and always alike otherwise;
- the two chosen encodings are weighted by their scores (normalised over the two) and concatenated in the order of the
  tokenisers, the others being 0: the weights give the router its gradient.  Its balance term (`aux`, to be added to the
  loss by `auxiliary_loss`) is the squared coefficient of variation of the mean scores.
Only the nodes that chose a tokenisation run through it, but for what all of them share (clusters, hops).  The local
encoder alone is a strong baseline: compare with `TunedGNN` of the same layers.
"""

__all__ = ["GSM", "BreadthFirst", "DepthFirst", "Hops", "RandomWalks"]

import torch
from torch import Tensor, nn

from apps.graph.cluster_tree import ClusterTree
from apps.graph.data.items import Batch, SparseRows
from apps.graph.models.classifier import NodeClassifier
from apps.graph.models.convolutions import GCNConv
from apps.graph.models.relation import layers_of, linear
from apps.graph.models.tokenisers import BreadthFirst, DepthFirst, Hops, RandomWalks
from apps.graph.models.tuned_gnn import GNNLayer
from core.errors import UserError
from core.ops.csr import Csr


class GSM(NodeClassifier):
    """Local encoder, sequences, prediction.

    Args:
        channels: features of a node.
        classes: numbers that are predicted.
        tokenisers: of width `dim`; several make a mixture.
        dim: width.
        depth: layers of the local encoder.
        dropout: behind each of them.

    Attributes:
        aux: the router's balance term after a training step of a mixture.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        tokenisers: list[DepthFirst | BreadthFirst | Hops | RandomWalks],
        dim: int = 64,
        depth: int = 4,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.aux: Tensor | None = None
        self.enter = nn.Linear(channels, dim)
        self.layers = nn.ModuleList(GNNLayer(dim, dim, GCNConv, nn.BatchNorm1d, True, dropout) for _ in range(depth))
        self.tokenisers = nn.ModuleList(tokenisers)
        many = len(tokenisers)
        self.router = nn.Linear(dim, many, bias=False) if many > 1 else None
        self.out = nn.Linear(dim * (1 + many), classes)

    def forward(self, x: Tensor | SparseRows, graph: Csr, tree: ClusterTree) -> Tensor:
        """(N, channels) -> (N, classes), the whole graph.

        Args:
            x: features.
            graph: with an edge from every node to itself.
            tree: of the same nodes.
        """
        h = linear(x, self.enter.weight, self.enter.bias)
        for layer, relation in zip(self.layers, layers_of(graph, len(self.layers)), strict=True):
            h = layer(h, relation)
        if self.router is None:
            everyone = torch.arange(len(h), device=h.device)
            return self.out(torch.cat([h, *(tokeniser(h, tree, graph, everyone) for tokeniser in self.tokenisers)], 1))
        made = []
        for tokeniser, share in zip(self.tokenisers, self._shares(h).unbind(1), strict=True):
            nodes = share.detach().nonzero()[:, 0]
            y = torch.zeros_like(h)
            if len(nodes):
                y = y.index_copy(0, nodes, tokeniser(h, tree, graph, nodes) * share[nodes, None])
            made.append(y)
        return self.out(torch.cat([h, *made], 1))

    def _shares(self, h: Tensor) -> Tensor:
        """(N, tokenisers), two of each row above 0."""
        assert self.router is not None
        scores = self.router(h).sigmoid()
        best, places = scores.topk(2, 1)
        if self.training:
            mean = scores.mean(0)
            self.aux = 0.01 * mean.var(correction=0) / mean.mean().square()
        else:
            self.aux = None
        return torch.zeros_like(scores).scatter(1, places, best / best.sum(1, keepdim=True))

    def classify(self, batch: Batch) -> Tensor:
        if batch.tree is None:
            raise UserError(
                "GSM: needs a hierarchy of clusters; give --data.loading apps.graph.data.hierarchical.Hierarchical."
            )
        return self(batch.x, batch.csr, batch.tree)[batch.targets]
