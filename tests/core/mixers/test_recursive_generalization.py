import pytest
import torch
from torch.nn import functional as F

from core.mixers import RecursiveGeneralization
from core.ops.depthwise import depthwise_reference
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2


def by_definition(mixer, x):
    coarse = x.movedim(-1, 1)
    for _ in range(mixer.recursions(tuple(x.shape[1:3]))):
        # Rows and columns beyond the last multiple of the stride are dropped.
        height, width = (n // 4 * 4 for n in coarse.shape[2:])
        patches = coarse[:, :, :height, :width].unflatten(3, (-1, 4)).unflatten(2, (-1, 4))
        coarse = torch.einsum("bchiwj,cij->bchw", patches, mixer.reduce.weight[:, 0])
        coarse = coarse + mixer.reduce.bias[:, None, None]
    near = depthwise_reference(coarse.movedim(1, -1), mixer.near.weight, mixer.near.bias)
    few = F.gelu(mixer.norm(mixer.narrow(near)))
    v = mixer.v(few)
    v = v + depthwise_reference(v, mixer.local.weight, mixer.local.bias)
    q, k, v = (t.flatten(1, 2).unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (mixer.q(x), mixer.k(few), v))
    y = (q @ k.mT * mixer.scale).softmax(-1) @ v
    return mixer.out(y.transpose(1, 2).flatten(2)).view_as(x)


CASES = {
    "biases": Case(lambda: RecursiveGeneralization(DIM, HEADS), DIM, [(1, 1), (2, 2), (3, 7), (9, 17)], by_definition),
    "none, q and k as wide": Case(
        lambda: RecursiveGeneralization(DIM, HEADS, ratio=1.0, bias=False, scale=0.7),
        DIM,
        [(4, 4), (9, 17)],
        by_definition,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_both_forms_are_one():
    mixer = RecursiveGeneralization(DIM, HEADS).double()
    x = torch.randn(2, 9, 17, DIM, dtype=torch.float64)
    k, v = torch.randn(2, 6, HEADS, 2, dtype=torch.float64), torch.randn(2, 6, HEADS, 4, dtype=torch.float64)
    torch.testing.assert_close(mixer._merged(x, k, v), mixer._apart(x, k, v))


def test_recursions_as_published_and_capped():
    mixer = RecursiveGeneralization(DIM, HEADS)
    trained = {size: mixer.train().recursions((size, size)) for size in (3, 4, 15, 16, 17, 63, 64, 255, 256)}
    assert trained == {3: 0, 4: 0, 15: 0, 16: 1, 17: 1, 63: 1, 64: 2, 255: 2, 256: 3}
    evaluated = {size: mixer.eval().recursions((size, size)) for size in (16, 64, 255, 256, 1023, 1024, 4096)}
    assert evaluated == {16: 2, 64: 2, 255: 2, 256: 2, 1023: 2, 1024: 3, 4096: 4}
    # Where the release has no coarse pixel left.
    assert [mixer.recursions(grid) for grid in ((1, 1), (8, 50), (1024, 32), (32, 5000))] == [0, 1, 2, 2]


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="divide both widths"):
        RecursiveGeneralization(6, 2)
