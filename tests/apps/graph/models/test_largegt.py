import pytest
import torch
from torch import nn

from apps.graph.models.diffusion import spread, tokens
from apps.graph.models.largegt import LargeGT, LocalAttention
from core.ops.csr import Csr


def model(**settings):
    torch.manual_seed(0)
    made = LargeGT(5, 3, 8, 2, codes=6, position_dim=4, norm=nn.LayerNorm, **settings).double()
    for weight in made.parameters():
        nn.init.normal_(weight, std=0.5)
    made(torch.randn(9, 6, 5).double(), torch.randn(9, 4).double())  # it has codes now
    return made.eval()


def test_counts_are_repeated_tokens():
    layer = LocalAttention(5, 8, 2).double().eval()
    for weight in layer.parameters():
        nn.init.normal_(weight, std=0.5)
    x = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    counts = torch.tensor([[1, 2, 1, 3], [1, 1, 0, 0], [1, 0, 0, 0]])
    y = layer(x, counts)
    probe = torch.randn_like(y)
    for sample in range(2):
        repeated = x[sample].repeat_interleave(counts[sample], 0)[None]
        torch.testing.assert_close(y[sample : sample + 1], layer(repeated))
        ours = torch.autograd.grad((y[sample] * probe[sample]).sum(), x, retain_graph=True)[0][sample]
        theirs = torch.autograd.grad((layer(repeated) * probe[sample]).sum(), x)[0][sample]
        torch.testing.assert_close(ours, theirs)
    assert y[2].isfinite().all()  # a node without neighbours reads itself


def test_padding_says_nothing():
    network = model()
    x, position, counts = torch.randn(2, 6, 5).double(), torch.randn(2, 4).double(), torch.ones(2, 6)
    counts[0, 4:] = 0
    other = x.clone()
    other[0, 4:] = 1e4
    torch.testing.assert_close(network(other, position, counts=counts), network(x, position, counts=counts))


def test_shared_nodes_are_embedded_once():
    network = model()
    rows, position = torch.randn(7, 3, 5).double(), torch.randn(4, 4).double()
    index = torch.randint(0, 7, (4, 5))
    torch.testing.assert_close(
        network(rows, position, index=index), network(rows[index].flatten(1, 2), position, index=None)
    )


@pytest.mark.parametrize("settings", [{"local": False}, {"codes": 0}, {"official_nodes": 20}])
def test_a_batch_of_one_node_trains(settings):
    torch.manual_seed(0)
    settings = {"codes": 6, "norm": nn.LayerNorm} | settings
    network = LargeGT(5, 3, 8, 2, position_dim=4, **settings)
    y = network(torch.randn(1, 6, 5), torch.randn(1, 4), nodes=torch.tensor([7]))
    assert y.shape == (1, 3)
    y.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_the_release_counts_the_nodes_of_the_whole_graph():
    torch.manual_seed(0)
    network = LargeGT(5, 3, 8, 2, local=False, codes=4, position_dim=4, norm=None, official_nodes=10)
    before = network.layer.far.assigned.clone()
    x, position = torch.randn(3, 6, 5), torch.randn(3, 4)
    network(x, position, nodes=torch.tensor([0, 4, 9]))
    changed = (network.layer.far.assigned != before).nonzero()[:, 0].tolist()
    assert set(changed) <= {0, 4, 9}
    with pytest.raises(ValueError, match="give `nodes`"):
        network(x, position)


def test_an_isolated_node_keeps_its_features_in_hops():
    csr, _ = Csr.of(torch.tensor([[0, 1], [1, 0]]), 3)
    x = torch.randn(3, 2).double()
    for hop in spread(x, csr, 2, tokens):
        torch.testing.assert_close(hop[2], x[2])


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="give it one of the two"):
        LargeGT(5, 3, local=False, codes=0)
    with pytest.raises(ValueError, match="give `position`"):
        model()(torch.randn(2, 6, 5).double())
    with pytest.raises(ValueError, match="take 1"):
        LocalAttention(5, 8, 2, depth=2)
