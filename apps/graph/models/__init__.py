"""Networks for nodes of large graphs, one publication a file."""

from apps.graph.models.convolutions import Convolution, GATConv, GCNConv, SAGEConv
from apps.graph.models.largegt import LargeGT
from apps.graph.models.polynormer import LargePolynormer, Polynormer
from apps.graph.models.relation import Relation, layers_of
from apps.graph.models.sgformer import AttentionBranch, GraphBranch, SGFormer
from apps.graph.models.sign import SIGN, sign_blocks
from apps.graph.models.tuned_gnn import TunedGNN

__all__ = [
    "AttentionBranch",
    "Convolution",
    "GATConv",
    "GCNConv",
    "GraphBranch",
    "LargeGT",
    "LargePolynormer",
    "Polynormer",
    "Relation",
    "SAGEConv",
    "SIGN",
    "SGFormer",
    "TunedGNN",
    "layers_of",
    "sign_blocks",
]
