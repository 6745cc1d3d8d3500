"""PyG's own data sets as a source: `Pyg` of any `InMemoryDataset` that holds one graph. They fetch what is missing."""

__all__ = ["Pyg"]

import numpy as np
from torch_geometric.data import InMemoryDataset

from apps.graph.metrics import accuracy, mean_roc_auc, roc_auc
from core.errors import UserError

from .graph import Graph
from .items import Metric, NodeSet, Source
from .splits import from_masks


class Pyg(Source):
    """A data set of `torch_geometric.datasets`, named in YAML by its class path.

    Args:
        dataset: of one graph with x, y and edge_index; train_mask, val_mask and test_mask are its splits.
        undirected: makes both directions of every edge.
        auc: judges sets of two classes by ROC AUC.
    """

    def __init__(self, dataset: InMemoryDataset, undirected: bool = False, auc: bool = False):
        self.dataset, self.undirected, self.auc = dataset, undirected, auc
        self.label = getattr(dataset, "name", None) or type(dataset).__name__

    def load(self) -> NodeSet:
        data = self.dataset[0]
        if len(self.dataset) != 1 or any(getattr(data, name, None) is None for name in ("x", "y", "edge_index")):
            raise UserError(f"{self.label}: is not one graph with x, y and edge_index; choose another data set.")
        count = int(data.num_nodes)
        graph = Graph.of(data.edge_index.numpy(), count, undirected=self.undirected)
        labels = data.y.numpy()
        metric: Metric
        if labels.ndim == 2 and labels.shape[1] > 1:
            labels, tasks, metric = labels.astype(np.float32), labels.shape[1], mean_roc_auc
        else:
            labels = labels.reshape(count)
            tasks, metric = int(np.nanmax(labels)) + 1, roc_auc if self.auc else accuracy
        masks = [getattr(data, f"{part}_mask", None) for part in ("train", "val", "test")]
        splits = []
        if all(mask is not None for mask in masks):
            splits = from_masks(*(mask.numpy() for mask in masks), count, self.label)
        return NodeSet(graph, data.x.float().numpy(), labels, splits, tuple(map(str, range(tasks))), metric)
