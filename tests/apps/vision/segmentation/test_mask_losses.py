"""Matching of masks, and a sum that is smallest where everything is right."""

import itertools

import pytest
import torch

from apps.vision.segmentation.mask_losses import Masks, PanopticLoss, Truth, match, nearest, sample

KIND = torch.float64


def perfect(segments, classes, queries, count):
    """Logits of queries that are right, in turned order; the others are void."""
    truths = len(classes)
    masks = torch.full((queries, *segments.shape), -20.0, dtype=KIND)
    logits = torch.zeros(queries, count + 1, dtype=KIND)
    logits[:, count] = 20
    for m in range(truths):
        query = queries - 1 - m
        masks[query][segments == m] = 20
        logits[query] = 0
        logits[query, classes[m]] = 20
    return logits, masks


@pytest.fixture
def scene():
    segments = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, -1]])
    return segments, torch.tensor([1, 1, 0])


def test_matching_is_the_best_of_all(scene):
    segments, classes = scene
    torch.manual_seed(0)
    logits, masks = torch.randn(4, 3, dtype=KIND), torch.randn(4, 3, 4, dtype=KIND)
    found = match(logits, masks, segments, classes)
    share = masks.softmax(0) * (segments >= 0)
    value = torch.zeros(4, 3, dtype=KIND)
    for n, m in itertools.product(range(4), range(3)):
        true = (segments == m).to(KIND)
        dice = (share[n] * true).sum() / ((share[n].sum() + true.sum()) / 2 + 1e-5)
        value[n, m] = dice * logits[n].softmax(0)[classes[m]]
    best = max(sum(value[n, m] for m, n in enumerate(order)) for order in itertools.permutations(range(4), 3))
    assert torch.allclose((found.dice * found.probability).sum(), best)
    assert torch.allclose((found.dice * found.probability), value[found.queries, found.truths])


def test_right_masks_are_found_in_any_order(scene):
    segments, classes = scene
    found = match(*perfect(segments, classes, 5, 2), segments, classes)
    assert dict(zip(found.truths.tolist(), found.queries.tolist(), strict=True)) == {0: 4, 1: 3, 2: 2}
    assert (found.dice > 0.999).all()


def test_the_loss_falls_to_nothing_where_all_is_right(scene):
    segments, classes = scene
    logits, masks = perfect(segments, classes, 5, 2)
    loss = PanopticLoss()
    total, parts = loss(Masks(logits[None], masks[None]), Truth(segments[None], (classes,)))
    assert set(parts) == {"classes", "masks", "dice"}
    assert total < 0.02
    # Two classes exchanged, or two masks, cost.
    wrong, _ = loss(Masks(logits[None].flip(1), masks[None]), Truth(segments[None], (classes,)))
    assert wrong > total + 1


def test_helping_layers_use_the_final_matching(scene):
    segments, classes = scene
    torch.manual_seed(1)
    layers = [Masks(torch.randn(1, 5, 3, dtype=KIND), torch.randn(1, 5, 3, 4, dtype=KIND)) for _ in range(2)]
    truth, loss = Truth(segments[None], (classes,)), PanopticLoss()
    goal = loss.goal(layers[0], truth)
    both, _ = loss(layers[0]._replace(others=(layers[1],)), truth)
    parts = [loss.layer(layer, goal) for layer in layers]
    expected = sum(loss.weights[name] * part[name] for part in parts for name in part)
    assert torch.allclose(both, expected)


def test_an_image_of_void_alone(scene):
    segments, classes = scene
    torch.manual_seed(2)
    found = Masks(
        torch.randn(2, 5, 3, requires_grad=True),
        torch.randn(2, 5, 3, 4, requires_grad=True),
        torch.nn.functional.normalize(torch.randn(2, 6, 3, 4), dim=1),
        torch.randn(2, 2, 3, 4, requires_grad=True),
    )
    truth = Truth(torch.stack([segments, torch.full_like(segments, -1)]), (classes, classes[:0]))
    total, parts = PanopticLoss()(found, truth)
    total.backward()
    assert total.isfinite() and set(parts) == {"classes", "masks", "dice", "pixels", "semantic"}
    assert found.masks.grad.isfinite().all()
    # Pixels of void have no mask to learn.
    assert found.masks.grad[1].abs().sum() == 0 and found.semantic.grad[1].abs().sum() == 0
    assert found.classes.grad[1].abs().sum() > 0


def test_more_truths_than_queries_are_void(scene):
    segments, classes = scene
    found = Masks(torch.randn(1, 2, 3, dtype=KIND), torch.randn(1, 2, 3, 4, dtype=KIND))
    goal = PanopticLoss().goal(found, Truth(segments[None], (classes,)))
    assert (goal.masks.sum((2, 3)) > 0).all()
    assert int(goal.void.sum()) > int((segments == -1).sum())


def test_semantic_truth(scene):
    segments, classes = scene
    assert Truth(segments[None], (classes,)).semantic()[0].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, -1]]


def test_sampling_prefers_small_masks_and_leaves_void_for_last():
    torch.manual_seed(3)
    rarity = torch.tensor([[[1.0] * 6 + [50.0] * 2]])
    void = torch.tensor([[[True] * 3 + [False] * 5]])
    drawn = torch.stack([sample(void, rarity, 5, 1.0)[0] for _ in range(20)])
    assert (drawn >= 3).all()
    assert all(len(set(row)) == 5 for row in drawn.tolist())
    firsts = torch.stack([sample(void, rarity, 2, 1.0)[0] for _ in range(60)])
    assert (firsts >= 6).double().mean() > 0.9
    assert sample(void, rarity, 100, 1.0).shape == (1, 8)


def test_truth_is_sampled_as_the_release_does():
    maps = torch.arange(17 * 25).view(1, 17, 25)
    assert torch.equal(nearest(maps, (5, 7)), maps[:, ::4, ::4])
    assert nearest(maps, (17, 25)) is maps
    assert nearest(torch.arange(8).view(1, 1, 8), (1, 4)).tolist() == [[[1, 3, 5, 7]]]
