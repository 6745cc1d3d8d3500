"""Sites and sparse tensors: sorted, checked, and back in the caller's order."""

import pytest
import torch

from core.sparse import Sites, SparseTensor
from core.testing.sparse import cloud


def test_rows_are_sorted_and_come_back_in_the_order_given():
    coords = torch.tensor([[1, 0, 2], [0, 1, 1], [1, 0, 0], [0, 0, 3]], dtype=torch.int32)
    features = torch.arange(4.0)[:, None]
    x = SparseTensor.of(features, coords, (2, 4), 2)
    assert x.coords.tolist() == [[0, 0, 3], [0, 1, 1], [1, 0, 0], [1, 0, 2]]
    assert x.coords.dtype == torch.int64
    assert x.features[:, 0].tolist() == [3, 1, 2, 0]
    assert torch.equal(x.sites.restore(x.features), features)
    assert torch.equal(x.sites.sort(features), x.features)


def test_sorted_rows_are_taken_as_they_are():
    x, _ = cloud([5, 3], (4, 4, 4), 2)
    again = SparseTensor.of(x.features, x.coords, x.grid, 2)
    assert again.sites.order is None
    assert again.sites.restore(again.features) is again.features


@pytest.mark.parametrize("grid", [(9,), (4, 5), (3, 4, 5)])
@pytest.mark.parametrize("counts", [[4, 0, 3], [0, 0], [1]])
def test_dense_and_back(grid, counts):
    x, _ = cloud(counts, grid, 3)
    dense = x.dense()
    assert dense.shape == (len(counts), *grid, 3)
    assert dense.detach().count_nonzero() == x.features.detach().count_nonzero()
    back = SparseTensor.from_dense(dense)
    assert torch.equal(back.coords, x.coords)
    assert torch.equal(back.features, x.features)


def test_dense_is_differentiable():
    x, features = cloud([4, 2], (3, 3), 2)
    weights = torch.randn_like(x.dense())
    (x.dense() * weights).sum().backward()
    expected = weights[tuple(x.coords.unbind(1))]
    assert torch.equal(x.sites.sort(features.grad), expected)


def test_samples_without_sites_are_empty_segments():
    x, _ = cloud([3, 0, 2, 0], (4, 4), 2)
    assert x.sites.offsets.tolist() == [0, 3, 3, 5, 5]
    ragged = x.ragged()
    ragged.check()
    assert ragged.lengths.tolist() == [3, 0, 2, 0]
    assert ragged.coords.shape == (5, 2)


def test_keys_come_back_to_coordinates():
    x, _ = cloud([7, 0, 5], (3, 4, 5), 1)
    again = Sites.from_keys(x.sites.keys(), x.grid, 3)
    assert torch.equal(again.coords, x.coords)


def test_keys_count_beyond_32_bits():
    coords = torch.tensor([[47, 40, 1599, 1407], [0, 0, 0, 0]])
    sites = Sites.of(coords, (41, 1600, 1408), 48)
    assert sites.keys().tolist() == [0, 48 * 41 * 1600 * 1408 - 1]
    assert torch.equal(Sites.from_keys(sites.keys(), sites.grid, 48).coords, sites.coords)


def test_plans_are_made_once_for_all_tensors_at_the_same_sites():
    x, _ = cloud([5], (4, 4), 2)
    calls = []
    for tensor in (x, x.replace(x.features * 2)):
        tensor.sites.plan("mine", lambda: calls.append(1) or "plan")
    assert calls == [1]


def test_plans_of_inference_serve_training():
    x, _ = cloud([5], (4, 4), 2)
    with torch.inference_mode():
        keys = x.sites.keys((1, 1))
    assert not keys.is_inference()


@pytest.mark.parametrize(
    ("coords", "said"),
    [
        ([[0, 0, 4]], "lies outside"),
        ([[0, -1, 0]], "lies outside"),
        ([[2, 0, 0]], "lies outside"),
        ([[0, 1, 1], [1, 0, 0], [0, 1, 1]], "given more than once"),
        ([[0, 1]], "one row"),
    ],
)
def test_wrong_sites_are_refused(coords, said):
    with pytest.raises(ValueError, match=said):
        Sites.of(torch.tensor(coords), (4, 4), 2)


def test_wrong_types_and_sizes_are_refused():
    with pytest.raises(ValueError, match="integers"):
        Sites.of(torch.zeros(1, 3), (4, 4), 2)
    with pytest.raises(ValueError, match="more than int64 counts"):
        Sites.of(torch.zeros(1, 4, dtype=torch.int64), (2**21, 2**21, 2**21), 2)
    with pytest.raises(ValueError, match="one row each"):
        SparseTensor.of(torch.zeros(2, 3), torch.zeros(1, 3, dtype=torch.int64), (4, 4), 2)
    with pytest.raises(ValueError, match="at 1 sites"):
        SparseTensor(torch.zeros(2, 3), Sites.of(torch.zeros(1, 3, dtype=torch.int64), (4, 4), 2))
