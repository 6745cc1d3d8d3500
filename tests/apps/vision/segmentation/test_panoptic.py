"""Segments out of queries: as by passing over the map for every query, and at the limits."""

import pytest
import torch
from torch.nn import functional as F

from apps.vision.segmentation.panoptic import Merge, instances, masks_at, panoptic, semantic


def by_definition(
    classes, masks, things, pixel=0.4, thing=0.7, stuff=0.5, overlap=0.8, class_power=1.0, mask_power=1.0
):
    """Query by query, over the whole map."""
    p, kinds = classes.softmax(-1)[:, :-1].max(-1)
    share = masks.softmax(0)
    own = share > pixel
    mean = (share * own).sum((1, 2)) / own.sum((1, 2)).clamp(min=1)
    result, found, stuff_ids = torch.full(masks.shape[1:], -1), [], {}
    for n in (p**class_power * mean**mask_power).argsort(descending=True).tolist():
        kind = int(kinds[n])
        free = own[n] & (result < 0)
        if p[n] <= (thing if kind in things else stuff) or not free.sum() > own[n].sum() * overlap:
            continue
        if kind in things or kind not in stuff_ids:
            stuff_ids[kind] = len(found)
            found.append(kind)
        result[free] = stuff_ids[kind]
    return result, found


def scene(seed, queries=12, kinds=5, size=(21, 34), loud=3.0):
    torch.manual_seed(seed)
    masks = F.interpolate(torch.randn(1, queries, 4, 5) * loud, size, mode="bicubic")[0]
    classes = torch.randn(queries, kinds + 1)
    classes[torch.arange(queries), torch.randint(0, kinds + 1, (queries,))] += 5
    return classes, masks


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pixel": 0.34, "overlap": 0.5},
        {"thing": 0.4, "stuff": 0.3, "overlap": 0.95, "mask_power": 0.0},
        {"pixel": 0.6},
    ],
)
def test_equal_to_the_definition(seed, options):
    classes, masks = scene(seed, loud=1.0 + seed % 3)
    found = panoptic(classes, masks, {0, 1}, **options)
    segments, kinds = by_definition(classes, masks, {0, 1}, **options)
    assert torch.equal(found.segments, segments) and found.kinds.tolist() == kinds
    assert len(found.scores) == len(kinds)


def test_rounding_decides_as_in_the_softmax():
    """Shares within the last digits of the limit, above and below."""
    torch.manual_seed(0)
    base = torch.log(torch.tensor([0.4, 0.4, 0.2]))[:, None] + torch.randn(1, 4000)
    masks = (base + torch.randn(3, 4000) * 1e-7)[:, None]
    classes = torch.eye(3, 4) * 9
    found = panoptic(classes, masks, {0, 1, 2}, overlap=0.0)
    segments, kinds = by_definition(classes, masks, {0, 1, 2}, overlap=0.0)
    assert torch.equal(found.segments, segments) and found.kinds.tolist() == kinds
    assert len(segments.unique()) == 3


def test_two_owners_of_a_pixel_meet():
    """Half of query 1's pixels belong to query 0 too, which is surer."""
    masks = torch.full((3, 1, 4), -20.0)
    masks[0, 0, :2], masks[1, 0, 1:3], masks[2, 0, 3] = 0.0, 0.0, 0.0
    classes = torch.zeros(3, 3)
    classes[0, 0], classes[1, 1], classes[2, 2] = 9.0, 8.0, 9.0
    assert panoptic(classes, masks, {0, 1}, overlap=0.8).segments.tolist() == [[0, 0, -1, -1]]
    both = panoptic(classes, masks, {0, 1}, overlap=0.4)
    assert both.segments.tolist() == [[0, 0, 1, -1]] and both.kinds.tolist() == [0, 1]


def test_stuff_of_one_class_is_one_segment():
    masks = torch.eye(3).view(3, 1, 3) * 20
    classes = torch.zeros(3, 3)
    classes[:, 1] = 9.0
    assert panoptic(classes, masks, set()).segments.tolist() == [[0, 0, 0]]
    assert len(panoptic(classes, masks, {1}).kinds) == 3


def test_nothing_sure_is_void():
    classes, masks = scene(0)
    found = panoptic(torch.zeros_like(classes), masks, {0})
    assert (found.segments == -1).all() and len(found.kinds) == len(found.scores) == 0


def test_other_queries_may_be_far_larger():
    masks = torch.zeros(2, 1, 2)
    masks[1, 0, 0] = 1e4
    classes = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
    assert panoptic(classes, masks, {0}).segments.tolist() == [[-1, 0]]


def test_a_pixel_of_three_is_refused():
    with pytest.raises(ValueError, match="give at least 1/3"):
        panoptic(*scene(0), {0}, pixel=0.3)


def test_semantic_scores_sum_to_what_is_not_void():
    classes, masks = scene(1)
    found = semantic(classes[None], masks[None])[0]
    expected = torch.einsum("nk,nhw->khw", classes.softmax(-1)[:, :-1], masks.softmax(0))
    torch.testing.assert_close(found, expected)


def test_instances_are_the_best_pairs():
    classes, masks = scene(2)
    found = instances(classes, masks, top=7, things=(0, 2))
    p, share = classes.softmax(-1)[:, :-1], masks.softmax(0)
    pairs = sorted(((float(p[n, k]), n, k) for n in range(len(p)) for k in range(p.shape[1])), reverse=True)[:7]
    scores = []
    for value, n, kind in pairs:
        own = share[n] > 0.4
        if kind in (0, 2):
            scores.append((value * float((share[n] * own).sum() / (own.sum() + 1e-6)), kind, int(own.sum())))
    scores.sort(key=lambda row: -row[0])
    torch.testing.assert_close(found.scores, torch.tensor([row[0] for row in scores]))
    assert found.kinds.tolist() == [row[1] for row in scores]
    assert found.masks.sum((1, 2)).tolist() == [row[2] for row in scores]
    assert len(instances(classes, masks, top=1000).kinds) == p.numel()


def test_masks_go_back_through_padding_and_scale():
    """An image of 10 x 20 was doubled and padded to 41 x 41: its masks are the upper half."""
    rows = torch.arange(11.0)[:, None].expand(11, 11)[None, None]
    found = masks_at(rows, (41, 41), (10, 20))
    assert found.shape == (1, 1, 10, 20)
    torch.testing.assert_close(found[0, 0, :, 0], torch.linspace(0, 19 / 4, 10))
    assert torch.equal(masks_at(rows, (11, 11), (11, 11)), rows)


def test_merge_keeps_its_thresholds():
    classes, masks = scene(3)
    ours = Merge(thing=0.4, stuff=0.3, overlap=0.5, mask_power=0.0)(classes, masks, {0})
    direct = panoptic(classes, masks, {0}, thing=0.4, stuff=0.3, overlap=0.5, mask_power=0.0)
    assert torch.equal(ours.segments, direct.segments)
