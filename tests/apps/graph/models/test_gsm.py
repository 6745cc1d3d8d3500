import pytest
import torch

from apps.graph.cluster_tree import ClusterTree
from apps.graph.data.graph import Graph
from apps.graph.models.gsm import GSM, BreadthFirst, DepthFirst, Hops, RandomWalks
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
    "walks": lambda: [RandomWalks(DIM, 2, walks=2, length=4)],
    "mixture": lambda: [
        DepthFirst(DIM, 2),
        BreadthFirst(DIM, 2, window=16),
        Hops(DIM, 2),
        RandomWalks(DIM, 2, walks=2, length=4),
    ],
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


@pytest.mark.parametrize("name", MODELS)
def test_only_nodes_that_are_asked_for_are_computed(name, sample):
    whole, _, tree = sample
    torch.manual_seed(0)
    h, nodes = torch.randn(40, DIM).double(), torch.tensor([31, 0, 5])
    for tokeniser in MODELS[name]():
        tokeniser = tokeniser.double().eval()
        everyone = tokeniser(h, tree, whole.csr, torch.arange(40))
        torch.testing.assert_close(tokeniser(h, tree, whole.csr, nodes), everyone[nodes])


def test_the_mixture_is_that_of_all_encodings(sample):
    """Chosen nodes alone or all of them times their shares, gradients too."""
    whole, _, tree = sample
    torch.manual_seed(0)
    network = GSM(DIM, 3, MODELS["mixture"](), DIM, 0).double().eval()
    h = torch.randn(40, DIM).double()
    ours, everyone = network(h, whole.csr, tree), torch.arange(40)
    inner = network.enter(h)
    shares = network._shares(inner).unbind(1)
    made = [
        t(inner, tree, whole.csr, everyone) * share[:, None]
        for t, share in zip(network.tokenisers, shares, strict=True)
    ]
    theirs = network.out(torch.cat([inner, *made], 1))
    torch.testing.assert_close(ours, theirs)
    probe, weights = torch.randn_like(ours), list(network.parameters())
    grads = (torch.autograd.grad((y * probe).sum(), weights, allow_unused=True) for y in (ours, theirs))
    for a, b in zip(*grads, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)


def test_walks_end_at_their_node_and_go_along_edges(sample):
    whole, _, _ = sample
    tokeniser, nodes = RandomWalks(DIM, 2, walks=3, length=5), torch.arange(40)
    linked = {(n, n) for n in range(40) if not whole.degrees[n]} | set(map(tuple, whole.edge_index().T.tolist()))
    made = tokeniser.walk(whole.csr, nodes)
    assert made.shape == (40, 3, 5) and torch.equal(made[:, :, -1], nodes[:, None].expand(-1, 3))
    for before, after in zip(made[..., :-1].flatten().tolist(), made[..., 1:].flatten().tolist(), strict=True):
        assert (before, after) in linked
    assert not torch.equal(made, tokeniser.walk(whole.csr, nodes))
    tokeniser.eval()
    assert torch.equal(tokeniser.walk(whole.csr, nodes), tokeniser.walk(whole.csr, nodes))
    # Every neighbour is as likely as the others.
    node = int(whole.degrees.argmax())
    steps = torch.cat([tokeniser.train().walk(whole.csr, torch.tensor([node]))[0, :, -2] for _ in range(500)])
    counts = torch.bincount(steps, minlength=40)[whole.neighbours[slice(*whole.offsets[node : node + 2])]].double()
    mean = counts.sum() / len(counts)
    assert counts.sum() == 1500 and ((counts - mean).square().sum() / mean) < 2.5 * len(counts)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize(("nodes", "edges"), [(6, 0), (1, 0), (7, 3)])
def test_any_graph_will_do(name, loops, nodes, edges):
    import numpy as np

    graph = Graph.of(np.random.default_rng(0).integers(0, 3, (2, edges)), nodes, undirected=True)
    graph = graph.with_loops() if loops else graph.without_loops()
    torch.manual_seed(0)
    network = GSM(5, 3, MODELS[name](), DIM, 1).double().eval()
    x = torch.randn(nodes, 5).double()
    y = network(x, graph.csr, ClusterTree(graph, x.float().numpy()))
    y.sum().backward()
    assert y.shape == (nodes, 3) and y.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_a_graph_without_edges_is_a_root_and_its_nodes():
    import numpy as np

    alone = Graph.of(np.zeros((2, 0), np.int64), 4)
    tree = ClusterTree(alone)
    assert tree.counts == [1, 4]
