import torch
from torch_geometric.nn import APPNP
from torch_geometric.utils import to_dense_adj

from apps.graph.models.diffusion import averaged, averaged_back, symmetric, tokens
from apps.graph.models.sign import SIGN, sign_blocks


def test_blocks_are_powers_of_the_dense_matrices(small):
    whole, x = small.graph(symmetric=False, loops=False), small.features()
    index = torch.from_numpy(whole.edge_index())
    adjacency = to_dense_adj(index, max_num_nodes=20)[0].double().T  # rows are targets
    degrees = adjacency.sum(1)
    root = torch.where(degrees > 0, degrees.clamp(min=1).rsqrt(), 0)
    normal = root[:, None] * adjacency * root
    mean = adjacency / degrees.clamp(min=1)[:, None]
    blocks = sign_blocks(x, whole.csr, ((symmetric, 2), (averaged, 1)))
    torch.testing.assert_close(blocks, torch.cat([x, normal @ x, normal @ normal @ x, mean @ x], 1))
    back = adjacency.T / adjacency.sum(0).clamp(min=1)[:, None]
    torch.testing.assert_close(averaged_back(x, whole.csr), back @ x)
    assert SIGN(20, 3, 8).double()(blocks).shape == (20, 3)


def test_hop_tokens_are_the_usual_normalisation_of_an_undirected_graph(small):
    whole, x = small.graph(loops=False), small.features()
    step = APPNP(1, 0.0)  # one step of PyG's normalised sum with loops
    index = torch.from_numpy(whole.edge_index())
    torch.testing.assert_close(tokens(x, whole.csr), step(x, index))
