"""Ranges of nodes behind PyG's interfaces, without torch_geometric.distributed, which is deprecated:

    stores = ShardFeatures(shard, hot), ShardGraph(shard)
    NodeLoader(stores, node_sampler=ShardSampler(ShardedNeighbours(shard, (15, 10), hot=hot)), input_nodes=..., ...)

Every process makes as many batches as the others, in its own process (no workers): sampling and fetching rows are calls
of all.  A batch is keyed by its seeds, as in `apps.graph.sampling.pyg`.
"""

__all__ = ["ShardFeatures", "ShardGraph", "ShardSampler"]

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import FeatureStore, GraphStore, TensorAttr
from torch_geometric.data.graph_store import EdgeAttr, EdgeLayout
from torch_geometric.sampler import BaseSampler, EdgeSamplerInput, NodeSamplerInput, SamplerOutput
from torch_geometric.sampler.base import NegativeSampling

from apps.graph.sampling.pyg import key_of_seeds

from .rows import ShardedRows
from .sampling import ShardedNeighbours
from .shards import Shard


class ShardFeatures(FeatureStore):
    """Features `x` and labels `y` of all nodes; reading is a call of all processes.

    Args:
        shard: of this process.
        hot: ids whose features are fetched once and kept.
    """

    def __init__(self, shard: Shard, hot: NDArray[np.int64] | None = None) -> None:
        super().__init__()
        self._rows = {"x": ShardedRows(shard, shard.features, hot), "y": ShardedRows(shard, shard.labels)}

    def _get_tensor(self, attr: TensorAttr) -> Tensor | None:
        rows = self._rows.get(attr.attr_name)
        if rows is None:
            return None
        ids = attr.index
        if ids is None or not isinstance(ids, torch.Tensor | np.ndarray):
            raise ValueError(f"ShardFeatures: {attr.attr_name} of all nodes is on several machines; give ids.")
        return torch.from_numpy(rows.fetch(np.asarray(ids)))

    def _get_tensor_size(self, attr: TensorAttr) -> tuple[int, ...] | None:
        rows = self._rows.get(attr.attr_name)
        return None if rows is None else (rows.shard.nodes, *rows.rows.shape[1:])

    def get_all_tensor_attrs(self) -> list[TensorAttr]:
        """x and y."""
        return [TensorAttr(None, name) for name in self._rows]

    def _put_tensor(self, tensor: Tensor, attr: TensorAttr) -> bool:
        return False

    def _remove_tensor(self, attr: TensorAttr) -> bool:
        return False


class ShardGraph(GraphStore):
    """Edges into the nodes of this process, in columns (CSC) of the whole graph's width.

    Args:
        shard: of this process.
    """

    def __init__(self, shard: Shard) -> None:
        super().__init__()
        self._shard = shard
        self._attr = EdgeAttr(None, EdgeLayout.CSC, size=(shard.nodes, len(shard.offsets) - 1))

    def _get_edge_index(self, edge_attr: EdgeAttr) -> tuple[Tensor, Tensor] | None:
        if edge_attr.layout != EdgeLayout.CSC:
            return None
        shard = self._shard
        return torch.from_numpy(shard.neighbours.astype(np.int64)), torch.from_numpy(np.array(shard.offsets))

    def get_all_edge_attrs(self) -> list[EdgeAttr]:
        """One kind of edges."""
        return [self._attr]

    def _put_edge_index(self, edge_index: tuple[Tensor, Tensor], edge_attr: EdgeAttr) -> bool:
        return False

    def _remove_edge_index(self, edge_attr: EdgeAttr) -> bool:
        return False


class ShardSampler(BaseSampler):
    """Draws for PyG's `NodeLoader`.

    Args:
        neighbours: of this process.
    """

    def __init__(self, neighbours: ShardedNeighbours) -> None:
        self.neighbours = neighbours

    def sample_from_nodes(self, index: NodeSamplerInput) -> SamplerOutput:
        """The neighbourhood of PyG's input; a call of all processes."""
        seeds = index.node.numpy()
        drawn = self.neighbours.sample(seeds, key_of_seeds(seeds))
        rows = np.repeat(np.arange(len(drawn.offsets) - 1), np.diff(drawn.offsets))
        nodes, *edges = (torch.from_numpy(values) for values in (drawn.nodes, drawn.columns, rows, drawn.places))
        return SamplerOutput(
            nodes,
            *edges,
            num_sampled_nodes=list(drawn.hop_nodes),
            num_sampled_edges=list(drawn.hop_edges),
            metadata=(index.input_id, None),
        )

    def sample_from_edges(self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None) -> SamplerOutput:
        """Not offered: this application classifies nodes."""
        raise NotImplementedError("ShardSampler draws around nodes; use NodeLoader.")
