"""PyG's data sets as a source."""

import pytest
import torch

from apps.graph.data.checks import checked
from apps.graph.metrics import accuracy, roc_auc
from core.errors import UserError

datasets = pytest.importorskip("torch_geometric.datasets")
from apps.graph.data.pyg import Pyg  # noqa: E402


def drawn(count=1, **more):
    torch.manual_seed(0)
    return datasets.FakeDataset(num_graphs=count, avg_num_nodes=50, num_channels=4, num_classes=2, task="node", **more)


def test_one_graph_with_its_masks():
    dataset = drawn()
    nodes = dataset[0].num_nodes
    part = torch.arange(nodes) % 3
    data = dataset[0]
    for n, name in enumerate(("train", "val", "test")):
        data[f"{name}_mask"] = part == n
    dataset.data, dataset.slices = dataset.collate([data])
    dataset._data_list = None
    made = checked(Pyg(dataset).load(), "fake")
    assert made.metric is accuracy and made.labels.tolist() == data.y.tolist() and len(made.splits) == 1
    assert made.splits[0].test.tolist() == torch.nonzero(part == 2).flatten().tolist()
    pairs = set(map(tuple, data.edge_index.T.tolist()))
    assert set(map(tuple, made.graph.edge_index().T.tolist())) == pairs
    both = Pyg(dataset, undirected=True, auc=True).load()
    assert both.graph.symmetric and both.metric is roc_auc
    assert set(map(tuple, both.graph.edge_index().T.tolist())) == pairs | {(b, a) for a, b in pairs}


def test_several_graphs_are_refused():
    with pytest.raises(UserError, match="is not one graph with x, y and edge_index"):
        Pyg(drawn(3)).load()
