"""Networks for nodes of large graphs, one publication a file."""

from apps.graph.cluster_tree import ClusterTree
from apps.graph.models.classifier import NodeClassifier
from apps.graph.models.convolutions import Convolution, GATConv, GCNConv, SAGEConv
from apps.graph.models.graphgps import GatedGCN, GINConv, GINEConv, GPSLayer, GraphGPS, GraphLayerNorm, Residual
from apps.graph.models.gsm import GSM, BreadthFirst, DepthFirst, Hops, RandomWalks
from apps.graph.models.kipf import GAT, GCN
from apps.graph.models.largegt import LargeGT
from apps.graph.models.polynormer import LargePolynormer, Polynormer
from apps.graph.models.relation import Relation, layers_of
from apps.graph.models.sgformer import AttentionBranch, GraphBranch, SGFormer
from apps.graph.models.sign import SIGN, sign_blocks
from apps.graph.models.tuned_gnn import TunedGNN

__all__ = [
    "GAT",
    "GCN",
    "GSM",
    "SIGN",
    "AttentionBranch",
    "BreadthFirst",
    "ClusterTree",
    "Convolution",
    "DepthFirst",
    "GATConv",
    "GCNConv",
    "GINConv",
    "GINEConv",
    "GPSLayer",
    "GatedGCN",
    "GraphBranch",
    "GraphGPS",
    "GraphLayerNorm",
    "Hops",
    "LargeGT",
    "LargePolynormer",
    "NodeClassifier",
    "Polynormer",
    "RandomWalks",
    "Relation",
    "Residual",
    "SAGEConv",
    "SGFormer",
    "TunedGNN",
    "layers_of",
    "sign_blocks",
]
