import pytest
import torch

from apps.graph.data.graph import Graph
from apps.graph.cluster_tree import ClusterTree
from apps.graph.models.gsm import GSM, BreadthFirst, DepthFirst, Hops
from apps.graph.models.tree_mamba import TreeMamba

DIM = 8


@pytest.fixture(scope="module")
def sample(small):
    whole = small.graph(nodes=40, edges=90)
    x = small.features(40)
    return whole, x, ClusterTree(whole, x.float().numpy())


def test_the_tree_goes_from_one_root_to_the_nodes(sample):
    whole, _, tree = sample
    assert tree.counts[0] == 1 and tree.counts[-1] == whole.nodes
    for level in range(1, tree.depth):
        above, below = tree.labels[level - 1], tree.labels[level]
        assert torch.equal(tree.parents[level][below], above)
    assert all(int(size.sum()) == whole.nodes and int(size.min()) > 0 for size in tree.sizes)


def test_tokens_are_means_of_members(sample):
    _, x, tree = sample
    for made, own in zip(tree.means(x), tree.labels, strict=True):
        for cluster in range(len(made)):
            torch.testing.assert_close(made[cluster], x[own == cluster].mean(0))


@pytest.mark.parametrize("size", [1, 3, 128])
def test_windows_hold_every_cluster_once(size, sample):
    _, _, tree = sample
    for level, (places, mask, meet) in enumerate(tree.windows(size)):
        assert sorted(places[mask].tolist()) == list(range(tree.counts[level]))
        assert places.shape[1] <= size
        for window in range(len(places)):
            for a in range(places.shape[1]):
                for b in range(places.shape[1]):
                    i, j, up = int(places[window, a]), int(places[window, b]), 0
                    while i != j:
                        i, j, up = int(tree.parents[level - up][i]), int(tree.parents[level - up][j]), up + 1
                    assert meet[window, a, b] == up


def test_mamba_on_the_tree_is_mamba_on_every_path(sample):
    _, x, tree = sample
    torch.manual_seed(0)
    mamba = TreeMamba(5, 3, expand=2).double()
    tokens = tree.means(x.requires_grad_())
    leaves = mamba.walk(tokens, tree.parents)[-1]
    paths = torch.stack([level[own] for level, own in zip(tokens, tree.labels, strict=True)], 1)
    expected = mamba(paths)[:, -1]
    torch.testing.assert_close(leaves, expected)
    probe = torch.randn_like(leaves)
    weights = list(mamba.parameters())
    ours = torch.autograd.grad((leaves * probe).sum(), [x, *weights], retain_graph=True)
    torch.testing.assert_close(ours, torch.autograd.grad((expected * probe).sum(), [x, *weights]))


MODELS = {
    "depth first": lambda: [DepthFirst(DIM, 2)],
    "breadth first": lambda: [BreadthFirst(DIM, 2, window=16)],
    "hops": lambda: [Hops(DIM, 2)],
    "mixture": lambda: [DepthFirst(DIM, 2), BreadthFirst(DIM, 2, window=16), Hops(DIM, 2)],
}


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_learns(name, sample):
    whole, x, tree = sample
    torch.manual_seed(0)
    network = GSM(5, 3, MODELS[name](), DIM, 2).double()
    y = network(x.detach(), whole.csr, tree)
    assert y.shape == (40, 3)
    loss = y.square().sum() + (0 if network.aux is None else network.aux)
    loss.backward()
    # Biases of keys cancel in a softmax; vectors of levels and distances beyond this tree are not read.
    still = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert [n for n in still if not n.endswith("k.bias")] == []
    assert all(p.grad.isfinite().all() for p in network.parameters())
    assert (network.aux is not None) == (name == "mixture")


def test_two_tokenisations_are_chosen_for_each_node(sample):
    _, _, _ = sample
    network = GSM(5, 3, MODELS["mixture"](), DIM, 1)
    shares = network._shares(torch.randn(30, DIM))
    assert ((shares > 0).sum(1) == 2).all()
    torch.testing.assert_close(shares.sum(1), torch.ones(30))


def test_other_numbers_of_the_nodes_change_nothing_depth_first(sample):
    whole, x, tree = sample
    torch.manual_seed(0)
    network = GSM(5, 3, [DepthFirst(DIM, 2)], DIM, 2).double().eval()
    order = torch.randperm(40)
    place = order.argsort()
    moved = Graph.of(place[torch.from_numpy(whole.edge_index())].numpy(), 40, undirected=True)
    other = ClusterTree(moved, x[order].detach().float().numpy())
    y, z = network(x.detach(), whole.csr, tree), network(x[order].detach(), moved.csr, other)
    torch.testing.assert_close(z, y[order])


def test_a_graph_without_edges_is_a_root_and_its_nodes():
    import numpy as np

    alone = Graph.of(np.zeros((2, 0), np.int64), 4)
    tree = ClusterTree(alone)
    assert tree.counts == [1, 4]
