import pytest
import torch

from core.mixers import CodebookAttention
from core.testing import Case, check_mixer

DIM = 6


def filled(**settings):
    """With codes that it has learnt from some tokens."""
    mixer = CodebookAttention(DIM, 2, 5, **settings)
    mixer(torch.randn(40, 1, DIM))
    return mixer


def by_definition(mixer, x):
    """Every token's weights written out."""
    codes, size = mixer.codebook.output.to(x.dtype), mixer.codebook.size.to(x.dtype)
    k = mixer.k(codes).unflatten(-1, (2, -1))
    v = mixer.v(codes[:, : mixer.value_dim]).unflatten(-1, (2, -1))
    q = mixer.q(x).unflatten(-1, (2, -1))
    weights = torch.exp(torch.einsum("...hd,mhd->...hm", q, k) * k.shape[-1] ** -0.5) * size
    return torch.einsum("...hm,mhd->...hd", weights / weights.sum(-1, keepdim=True), v).flatten(-2)


CASES = {
    "codes": Case(filled, DIM, [(1,), (7,), (3, 4)], by_definition, variance=None),
    "of other widths": Case(lambda: filled(head_dim=4, value_dim=2), DIM, [(5,)], by_definition, variance=None),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_the_gradient_is_that_of_the_codes_attended_to():
    torch.manual_seed(0)
    mixer = filled().double()
    x = torch.randn(4, 3, DIM, dtype=torch.float64)
    expected = by_definition(mixer, x)
    gradient = torch.autograd.grad(expected.square().sum(), mixer.k.weight)
    before = mixer.codebook.output.clone()
    y = mixer(x)
    assert not torch.equal(mixer.codebook.output, before)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), mixer.k.weight), gradient)


def test_padding_teaches_nothing():
    torch.manual_seed(0)
    one, other = CodebookAttention(DIM, 2, 5), CodebookAttention(DIM, 2, 5)
    x, mask = torch.randn(2, 9, DIM), torch.rand(2, 9) > 0.4
    one(x, mask=mask)
    other(x[mask][None])
    torch.testing.assert_close(one.codebook.state_dict(), other.codebook.state_dict())


def test_no_codes_give_nothing():
    assert not CodebookAttention(DIM, 2, 5).eval()(torch.randn(2, 3, DIM)).any()
