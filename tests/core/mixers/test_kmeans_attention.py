"""k-means cross-attention: sums over the pixels that a query is the best of."""

import pytest
import torch

from core.mixers import KMeansAttention
from core.mixers.kmeans_attention import kmeans_sum, kmeans_sum_reference
from core.mixers.position_sensitive import TokenBatchNorm
from core.testing import Case, check_mixer


def perturbed(mixer):
    for part in mixer.modules():
        if isinstance(part, TokenBatchNorm):
            torch.nn.init.normal_(part.weight, 1.0, 0.2)
            torch.nn.init.normal_(part.bias, 0.0, 0.2)
            torch.nn.init.normal_(part.running_mean, 0.0, 0.2)
            torch.nn.init.uniform_(part.running_var, 0.5, 2.0)
    return mixer


def by_definition(mixer, x):
    """Pixel by pixel."""
    flat = x.flatten(1, -2)
    update = mixer.update
    values = torch.nn.functional.batch_norm(
        update.v(flat).transpose(1, 2),
        update.v_norm.running_mean,
        update.v_norm.running_var,
        update.v_norm.weight,
        update.v_norm.bias,
        eps=update.v_norm.eps,
    ).transpose(1, 2)
    sums = []
    for tokens, v in zip(flat, values, strict=True):
        q, k = mixer.q(tokens), mixer.k(tokens)
        owners = [int((q @ key).argmax()) for key in k]
        zero = v.sum(0) * 0
        sums.append(torch.stack([sum((v[p] for p, o in enumerate(owners) if o == n), zero) for n in range(len(q))]))
    return update.norm(update.out(update.sum_norm(torch.stack(sums)))).view(*x.shape[:-1], -1)


CASES = {
    "own": Case(lambda: perturbed(KMeansAttention(6)), 6, [(1,), (5,), (3, 4)], by_definition, variance=None),
    "other widths": Case(
        lambda: perturbed(KMeansAttention(6, key_dim=3, value_dim=5)), 6, [(1,), (5,)], by_definition, variance=None
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 5, 37, 3), (3, 40, 7, 4)])
def test_sums_by_index_are_the_product(shape):
    torch.manual_seed(0)
    batch, queries, pixels, width = shape
    scores = torch.randn(batch, queries, pixels, dtype=torch.float64, requires_grad=True)
    values = torch.randn(batch, pixels, width, dtype=torch.float64, requires_grad=True)
    ours, theirs = kmeans_sum(scores, values), kmeans_sum_reference(scores, values)
    torch.testing.assert_close(ours, theirs)
    probe = torch.randn_like(ours)
    gradients = [torch.autograd.grad((y * probe).sum(), values)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*gradients)
    assert torch.autograd.grad(ours.sum(), scores, allow_unused=True) == (None,)


def test_every_pixel_counts_once():
    torch.manual_seed(0)
    values = torch.randn(2, 30, 4, dtype=torch.float64)
    torch.testing.assert_close(kmeans_sum(torch.randn(2, 6, 30), values).sum(1), values.sum(1))


def test_a_context_of_another_width():
    mixer = KMeansAttention(6, context_dim=4).eval()
    assert mixer(torch.randn(2, 5, 6), context=torch.randn(2, 3, 7, 4)).shape == (2, 5, 6)
