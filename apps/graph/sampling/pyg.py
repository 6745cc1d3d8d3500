"""Our draws behind PyG's interface: `NodeLoader(data, sampler=NeighbourSampler(graph, (15, 10)), ...)` and Lightning
with it, without pyg-lib or torch-sparse.

PyG's loaders keep the edges of `data.edge_index` in their own order; `edge_permutation` says which of them a position
in our rows is. A batch's key is made of its seeds, so that a shuffled epoch draws anew, an evaluation never does, and
neither workers nor the order of batches matter; `set_epoch` changes every draw.
"""

__all__ = ["NeighbourSampler", "graph_of", "key_of_seeds"]

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.sampler import BaseSampler, EdgeSamplerInput, NodeSamplerInput, SamplerOutput
from torch_geometric.sampler.base import NegativeSampling

from apps.graph.compiled import GOLDEN, mixed
from apps.graph.data.graph import Graph

from .neighbours import Neighbours
from .parts import induced


def graph_of(data: Data, weight: str | None = None, time: str | None = None) -> tuple[Graph, Tensor]:
    """PyG's data as a graph, and the column of `edge_index` that each of its edges is.

    Args:
        data: with edge_index.
        weight: name of its attribute (E,) that holds weights of edges.
        time: name of its attribute (E,) that holds times of edges.
    """
    edges = data.edge_index.numpy()
    weights, times = (None if name is None else getattr(data, name).numpy() for name in (weight, time))
    # Rows are filled by a stable sort, so the order of equal edges is that of the list.
    order = np.lexsort((edges[0], edges[1]))
    graph = Graph.of(edges, int(data.num_nodes or 0), weights, times, keep_duplicates=True)
    return graph, torch.from_numpy(order)


class NeighbourSampler(BaseSampler):
    """Draws of `Neighbours` for PyG's loaders.

    Args:
        graph: of the same nodes as the data.
        fan_out, replace, weighted, disjoint, seed: as in `Neighbours`.
        induce: all edges among the nodes of a batch instead of those drawn.
        permutation: of `graph_of`, where the data has attributes of edges.
    """

    def __init__(
        self,
        graph: Graph,
        fan_out: tuple[int, ...],
        replace: bool = False,
        weighted: bool = False,
        disjoint: bool = False,
        induce: bool = False,
        seed: int = 0,
        permutation: Tensor | None = None,
    ):
        self.neighbours = Neighbours(graph, fan_out, replace, weighted, disjoint, seed)
        self.induce, self.permutation = induce, permutation
        if induce and disjoint:
            raise ValueError("NeighbourSampler: induce joins trees that disjoint keeps apart; choose one.")
        # Shared, so that workers that live on see it.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Other draws for the same seeds."""
        self._epoch.fill_(epoch)

    def sample_from_nodes(self, index: NodeSamplerInput) -> SamplerOutput:
        """The neighbourhood of PyG's input."""
        seeds = index.node.numpy()
        times = None if index.time is None else index.time.numpy()
        drawn = self.neighbours.sample(seeds, key_of_seeds(seeds, int(self._epoch)), times)
        metadata = (index.input_id, index.time)
        nodes = torch.from_numpy(drawn.nodes)
        if self.induce:
            part = induced(self.neighbours.graph, drawn.nodes)
            rows = np.repeat(np.arange(len(drawn.nodes)), np.diff(part.offsets))
            edges = [torch.from_numpy(values) for values in (part.columns, rows, part.places)]
            return SamplerOutput(nodes, *edges, metadata=metadata)
        rows = np.repeat(np.arange(len(drawn.offsets) - 1), np.diff(drawn.offsets))
        edges = [torch.from_numpy(values) for values in (drawn.columns, rows, drawn.places)]
        batch = None if drawn.trees is None else torch.from_numpy(drawn.trees)
        return SamplerOutput(
            nodes,
            *edges,
            batch=batch,
            num_sampled_nodes=list(drawn.hop_nodes),
            num_sampled_edges=list(drawn.hop_edges),
            metadata=metadata,
        )

    def sample_from_edges(self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None) -> SamplerOutput:
        """Not offered: this application classifies nodes."""
        raise NotImplementedError("NeighbourSampler draws around nodes; use NodeLoader.")

    @property
    def edge_permutation(self) -> Tensor | None:
        """PyG's name for `permutation`."""
        return self.permutation


def key_of_seeds(seeds: np.ndarray, epoch: int = 0) -> int:
    """A number of the seeds, their order and the epoch."""
    with np.errstate(over="ignore"):
        places = np.arange(1, len(seeds) + 1).astype(np.uint64) * GOLDEN
        return int(mixed(mixed(seeds.astype(np.uint64) + places).sum(dtype=np.uint64) + np.uint64(epoch)))
