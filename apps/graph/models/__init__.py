"""Networks for nodes of large graphs, one publication a file."""

from apps.graph.models.convolutions import Convolution, GATConv, GCNConv, SAGEConv
from apps.graph.models.polynormer import LargePolynormer, Polynormer
from apps.graph.models.relation import Relation, layers_of
from apps.graph.models.sgformer import AttentionBranch, GraphBranch, SGFormer
from apps.graph.models.tuned_gnn import TunedGNN

__all__ = [
    "AttentionBranch",
    "Convolution",
    "GATConv",
    "GCNConv",
    "GraphBranch",
    "LargePolynormer",
    "Polynormer",
    "Relation",
    "SAGEConv",
    "SGFormer",
    "TunedGNN",
    "layers_of",
]
