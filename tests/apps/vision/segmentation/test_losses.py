"""Pixel losses against their definitions, the releases' numbers, and what must not become NaN."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from apps.vision.segmentation.binary_losses import BinaryCrossEntropy, Boundary, NormalisedFocal, edges
from apps.vision.segmentation.goldens import GOLDENS
from apps.vision.segmentation.losses import CrossEntropy, DeepSupervision, Dice, Focal, Ohem
from apps.vision.segmentation.models import Logits
from core.errors import UserError
from core.verify import read, verify

GOLDEN = Path(__file__).parents[3] / "golden"
FILES = [*GOLDEN.glob("p2at/loss_*"), *GOLDEN.glob("interformer/loss_*"), *GOLDEN.glob("kmax/loss_*")]
ALL = [CrossEntropy, Ohem, Focal, Dice]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_golden(path):
    facts, _ = read(path)
    results = verify(path, GOLDENS[facts.system][facts.cls])
    assert results and all(result.ok for result in results), [r for r in results if not r.ok]


def test_there_are_goldens():
    assert len(FILES) == 7


@pytest.fixture
def pair():
    torch.manual_seed(0)
    labels = torch.randint(0, 4, (2, 6, 5))
    labels[0, :2] = 255
    return torch.randn(2, 4, 6, 5, dtype=torch.float64), labels


@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 0.5, 0.0)])
def test_cross_entropy_is_torchs(pair, weights):
    logits, labels = pair
    given = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    expected = F.cross_entropy(logits, labels, given, ignore_index=255)
    assert torch.allclose(CrossEntropy(weights=weights)(logits, labels), expected)


def test_focal_without_power_is_cross_entropy(pair):
    assert torch.allclose(Focal(gamma=0.0)(*pair), CrossEntropy()(*pair))
    logits, labels = pair
    p = logits.softmax(1).gather(1, labels.clamp(max=3)[:, None])[:, 0][labels != 255]
    assert torch.allclose(Focal(gamma=1.5)(*pair), -((1 - p) ** 1.5 * p.log()).mean())


def test_dice_by_definition(pair):
    logits, labels = pair
    labels[labels == 2] = 1
    p, valid = logits.softmax(1), labels != 255
    values = []
    for c in (0, 1, 3):
        t = (labels == c).double()
        values.append(1 - (2 * (p[:, c] * t).sum() + 1) / ((p[:, c] * valid).sum() + t.sum() + 1))
    assert torch.allclose(Dice()(logits, labels), sum(values) / 3)


def test_ohem_keeps_at_least_so_many():
    # Probabilities of the right class: .5, .6 .. .9.
    p = torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9], dtype=torch.float64)
    logits = torch.stack([p.log(), (1 - p).log()])[None, :, None]
    labels = torch.zeros(1, 1, 5, dtype=torch.int64)
    assert torch.allclose(Ohem(threshold=0.65, keep=1)(logits, labels), -p[:2].log().mean())
    assert torch.allclose(Ohem(threshold=0.65, keep=3)(logits, labels), -p[:3].log().mean())


def test_ohem_is_zero_where_the_release_is_nan():
    logits = torch.zeros(1, 2, 2, 2, requires_grad=True)
    # All probabilities are equal and above the threshold, so none is below the limit.
    loss = Ohem(threshold=0.3, keep=100)(logits, torch.zeros(1, 2, 2, dtype=torch.int64))
    loss.backward()
    assert loss == 0 and logits.grad.abs().sum() == 0


@pytest.mark.parametrize("make", [*ALL, NormalisedFocal, BinaryCrossEntropy, Boundary])
def test_nothing_labelled_is_zero(make):
    channels = 1 if make in (BinaryCrossEntropy, Boundary) else 2
    logits = torch.randn(2, channels, 4, 4, requires_grad=True)
    loss = make()(logits, torch.full((2, 4, 4), 255))
    loss.backward()
    assert loss == 0 and logits.grad.abs().sum() == 0


@pytest.mark.parametrize("make", ALL)
def test_ignored_pixels_do_not_matter(make, pair):
    logits, labels = pair
    changed = logits.clone()
    changed[0, :, :2] += torch.randn(4, 2, 5)
    assert torch.equal(make()(logits, labels), make()(changed, labels))


@pytest.mark.parametrize("make", [*ALL, NormalisedFocal])
def test_gradients(make):
    torch.manual_seed(3)
    logits = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 2, (1, 3, 4))
    labels[0, 0, 0] = 255
    if make is NormalisedFocal:
        make(gamma=2.0)(logits, labels).backward()
        assert logits.grad.isfinite().all() and logits.grad[0, :, 0, 0].abs().sum() == 0
    else:
        assert torch.autograd.gradcheck(lambda x: make()(x, labels), logits)


def test_right_and_certain_has_a_finite_gradient():
    logits = torch.tensor([80.0, -80.0]).view(1, 2, 1, 1).requires_grad_()
    for loss in (Focal(gamma=0.5), NormalisedFocal()):
        loss(logits, torch.zeros(1, 1, 1, dtype=torch.int64)).backward()
        assert logits.grad.isfinite().all()


def test_logits_grow_to_the_labels():
    logits, labels = torch.randn(1, 3, 2, 2), torch.randint(0, 3, (1, 8, 8))
    grown = F.interpolate(logits, size=(8, 8), mode="bilinear")
    assert torch.equal(CrossEntropy()(logits, labels), CrossEntropy()(grown, labels))


def test_half_precision_counts_in_single():
    logits, labels = torch.randn(1, 3, 200, 200).bfloat16(), torch.randint(0, 3, (1, 200, 200))
    assert torch.equal(Dice()(logits, labels), Dice()(logits.float(), labels))


def test_boundary_weighs_both_sides_alike():
    edge = torch.zeros(1, 2, 4, dtype=torch.int64)
    edge[0, 0, 0], edge[0, 1, 3] = 1, 255
    logits = torch.zeros(1, 1, 2, 4, dtype=torch.float64)
    log2 = torch.tensor(2.0, dtype=torch.float64).log()
    entropy = (1 * 6 / 7 + 6 * 1 / 7) * log2 / 7
    assert torch.allclose(Boundary()(logits, edge), 20 * entropy + 1 - (2 * 0.5 + 1) / (3.5 + 1 + 1))


def test_edges_know_void():
    labels = torch.tensor([[[0, 0, 0, 1, 1, 255, 2, 2]]])
    assert edges(labels, reach=1).tolist() == [[[0, 0, 1, 1, 0, 255, 0, 0]]]


def test_deep_supervision(pair):
    logits, labels = pair
    other = logits + 1 / (1 + logits.abs())
    total = DeepSupervision(Ohem(), (0.4, 0.2), CrossEntropy())
    expected = Ohem()(logits, labels) + 0.4 * CrossEntropy()(other, labels) + 0.2 * CrossEntropy()(-other, labels)
    assert torch.allclose(total(Logits(logits, (other, -other)), {"labels": labels}), expected)
    assert torch.equal(total(Logits(logits), {"labels": labels}), Ohem()(logits, labels))
    with pytest.raises(UserError, match="1 helping heads and 2 weights"):
        total(Logits(logits, (other,)), {"labels": labels})
    # One weight is that of all, as P2AT with its two helping heads needs by default.
    one, both = (DeepSupervision(CrossEntropy(), weights) for weights in ((0.3,), (0.3, 0.3)))
    made = Logits(logits, (other, -other))
    assert torch.equal(one(made, {"labels": labels}), both(made, {"labels": labels}))


def test_errors(pair):
    logits, labels = pair
    with pytest.raises(ValueError, match="1 channel has nothing to compare with"):
        CrossEntropy()(logits[:, :1], labels)
    with pytest.raises(ValueError, match="3 weights for 4 classes"):
        CrossEntropy(weights=(1, 1, 1))(logits, labels)
    with pytest.raises(ValueError, match="expected one logit"):
        BinaryCrossEntropy()(logits, labels)
    with pytest.raises(ValueError, match=r"logits \(B, K, h, w\)"):
        CrossEntropy()(logits, labels[0])
