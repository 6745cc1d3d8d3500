"""Heads: equal to the release, and what it does not do: any sample empty, no box anywhere, boxes off the map."""

import math
from pathlib import Path

import pytest
import torch

from apps.pointcloud.models.anchor_head import AnchorClass, AnchorHead, decode_boxes, encode_boxes
from apps.pointcloud.models.center_head import CenterHead
from apps.pointcloud.models.decode import CenterDecoder, boxes_of_codes
from apps.pointcloud.models.goldens_heads import HEADS
from apps.pointcloud.models.losses import code_loss, focal_loss, heat_loss, smooth_l1
from apps.pointcloud.models.targets import BevGrid, center_targets
from core.layout import Ragged
from core.verify import read, verify

FOLDER = Path(__file__).parents[3] / "golden" / "openpcdet"
FILES = [path for part in ("center", "anchor") for path in sorted(FOLDER.glob(f"{part}_*"))]
GRID = BevGrid((0.0, -8.0), (0.5, 0.5), (24, 32))
RANGE = (0.0, -8.0, -3.0, 12.0, 8.0, 1.0)
ANCHORS = [AnchorClass(((3.9, 1.6, 1.56),), -1.78, 0.6, 0.45), AnchorClass(((0.8, 0.6, 1.73),), -0.6, 0.5, 0.35)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_equals_the_release(path, dtype):
    results = verify(path, HEADS[read(path)[0].cls], dtype)
    assert results and [r for r in results if not r.ok] == []


def test_every_class_has_a_golden():
    assert {read(path)[0].cls for path in FILES} == {*HEADS}


def some(counts: list[int], seed: int = 0, columns: int = 7) -> tuple[Ragged, torch.Tensor]:
    """Boxes on the map and labels 0 or 1 of a batch."""
    gen = torch.Generator().manual_seed(seed)
    r = torch.rand(sum(counts), columns, generator=gen)
    r[:, 0], r[:, 1] = r[:, 0] * 12, (r[:, 1] - 0.5) * 16
    r[:, 3:6] = r[:, 3:6] * 4 + 0.5
    labels = torch.randint(0, 2, (sum(counts),), generator=gen)
    return Ragged(r, torch.tensor([0, *counts]).cumsum(0)), labels


def by_loop(boxes: Ragged, labels, classes):
    """Heat a box and a cell at a time."""
    heat = torch.zeros(boxes.batch, GRID.size[1], GRID.size[0], len(classes), dtype=torch.float64)
    for box, label, sample in zip(boxes.tokens.tolist(), labels.tolist(), boxes.segment_ids().tolist(), strict=True):
        if label not in classes:
            continue
        dx, dy = box[3] / 0.5, box[4] / 0.5
        total, area, o = dx + dy, dx * dy, 0.1
        roots = [
            (b + math.sqrt(b * b - 4 * a * c)) / 2
            for a, b, c in (
                (1, total, area * (1 - o) / (1 + o)),
                (4, 2 * total, (1 - o) * area),
                (4 * o, -2 * o * total, (o - 1) * area),
            )
        ]
        radius = max(2, int(min(roots)))
        x, y = int(box[0] / 0.5), int((box[1] + 8) / 0.5)
        for v in range(max(0, y - radius), min(GRID.size[1], y + radius + 1)):
            for u in range(max(0, x - radius), min(GRID.size[0], x + radius + 1)):
                value = math.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * ((2 * radius + 1) / 6) ** 2))
                cell = heat[sample, v, u]
                cell[classes.index(label)] = max(cell[classes.index(label)].item(), value)
    return heat


@pytest.mark.parametrize("classes", [[0, 1], [1], [1, 0], [2]])
def test_targets_equal_the_loop(classes):
    boxes, labels = some([5, 0, 9])
    target = center_targets(boxes, labels, GRID, classes)
    assert (target.heat - by_loop(boxes, labels, classes)).abs().max() < 1e-6
    own = torch.isin(labels, torch.tensor(classes))
    assert torch.equal(target.boxes, boxes.tokens[own]) and torch.equal(target.index, own.nonzero()[:, 0])
    assert torch.equal(target.sample, boxes.segment_ids()[own])
    if len(target.boxes):
        back = boxes_of_codes(target.codes, target.cell, GRID)
        assert torch.allclose(back, target.boxes, atol=1e-5)


def test_boxes_off_the_map_and_without_extent_are_left_out():
    rows = [[13.0, 0, 0, 4, 2, 1, 0], [5, 8, 0, 4, 2, 1, 0], [-0.1, 0, 0, 4, 2, 1, 0], [5, 0, 0, 0, 2, 1, 0]]
    boxes = Ragged(torch.tensor(rows), torch.tensor([0, 4]))
    labels = torch.zeros(4, dtype=torch.int64)
    assert len(center_targets(boxes, labels, GRID, [0]).boxes) == 0
    official = center_targets(boxes, labels, GRID, [0], official=True)
    assert official.index.tolist() == [0, 1, 2] and official.heat.amax() == 1
    assert (official.cell % 24).tolist() == [23, 10, 0]


def head(**options) -> CenterHead:
    torch.manual_seed(0)
    return CenterHead(6, GRID, [[0], [1]], shared_dim=8, iou=True, overlap_loss=True, **options)


@pytest.mark.parametrize("counts", [[4, 0, 3], [0, 0, 0]])
def test_samples_without_boxes_train(counts):
    module = head()
    x = torch.randn(3, 32, 24, 6, requires_grad=True)
    boxes, labels = some(counts)
    loss = module.loss(module(x), module.targets(boxes, labels))
    assert set(loss) == {"loss", "heat", "boxes", "iou", "overlap"} and loss["loss"].isfinite()
    assert torch.allclose(loss["loss"], loss["heat"] + loss["boxes"] + loss["iou"] + loss["overlap"])
    loss["loss"].backward()
    assert x.grad.isfinite().all() and all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
    # Every parameter takes part, boxes or not: processes in step with each other need it.
    assert all(p.grad is not None for p in module.parameters())


def test_unknown_velocities_are_not_learnt():
    module = head(velocity=True)
    boxes, labels = some([4], columns=9)
    x = torch.randn(1, 32, 24, 6)
    outputs = module(x)
    full = module.loss(outputs, module.targets(boxes, labels))
    boxes.tokens[0, 7:] = math.nan
    part = module.loss(outputs, module.targets(boxes, labels))
    assert part["loss"].isfinite() and part["boxes"] < full["boxes"]
    with pytest.raises(ValueError, match="8 code_weights for 10 codes"):
        head(velocity=True, code_weights=[1.0] * 8)


def test_a_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match="the map is 20 x 32 cells, the grid 24 x 32"):
        head()(torch.randn(1, 32, 20, 6))


def perfect(boxes: Ragged, labels) -> list[dict]:
    """Maps that say what the boxes are."""
    outputs = []
    for group in ([0], [1]):
        target = center_targets(boxes, labels, GRID, group)
        maps = {"heat": torch.where(target.heat == 1, 4.0, -9.0)}
        for name, columns in {"offset": (0, 2), "height": (2, 3), "size": (3, 6), "turn": (6, 8)}.items():
            value = torch.zeros(boxes.batch, 24 * 32, columns[1] - columns[0])
            value[target.sample, target.cell] = target.codes[:, slice(*columns)]
            maps[name] = value.view(boxes.batch, 32, 24, -1)
        outputs.append(maps)
    return outputs


def test_decoding_gives_the_boxes_back():
    boxes, labels = some([3, 0, 4], seed=3)
    found = CenterDecoder(GRID, [[0], [1]], thresholds=[0.99, 0.99])(perfect(boxes, labels))
    assert [len(sample.boxes) for sample in found] == [3, 0, 4]
    for sample, segment, label in zip(found, boxes.segments(), labels.split([3, 0, 4]), strict=True):
        order = torch.cdist(segment.tokens[:, :3], sample.boxes[:, :3]).argmin(1) if len(label) else label
        assert torch.allclose(sample.boxes[order], segment.tokens, atol=1e-5)
        assert torch.equal(sample.labels[order], label) and (sample.scores > 0.9).all()
    none = CenterDecoder(GRID, [[0], [1]], thresholds=0.5, least=0.99)(perfect(boxes, labels))
    assert [sample.boxes.shape for sample in none] == [(0, 7)] * 3


def test_rectified_scores():
    boxes, labels = some([1], seed=1)
    outputs = perfect(boxes, labels)
    for maps in outputs:
        maps["iou"] = torch.full((1, 32, 24, 1), 0.28)
    decoder = CenterDecoder(GRID, [[0], [1]], thresholds=[0.5, 0.5], rectify=[0.5, 0.5])
    (found,) = decoder(outputs)
    assert found.scores.item() == pytest.approx(math.sqrt(torch.tensor(4.0).sigmoid().item() * 0.64), rel=1e-5)


def test_losses_by_hand():
    logits, heat = torch.tensor([0.0, 0.0, 0.0]), torch.tensor([1.0, 0.5, 0.0])
    at, near, far = 0.25 * math.log(2), 0.5**4 * 0.25 * math.log(2), 0.25 * math.log(2)
    assert heat_loss(logits, heat).item() == pytest.approx(at + near + far)
    assert heat_loss(logits[1:], heat[1:]).item() == pytest.approx(near + far)
    assert code_loss(torch.zeros(0, 8), torch.zeros(0, 8)).tolist() == [0] * 8
    assert code_loss(torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[0.0, math.nan], [1, 1]])).tolist() == [1.5, 1.5]
    assert smooth_l1(torch.tensor([0.05, -1.0])).tolist() == pytest.approx([0.05**2 * 4.5, 1 - 1 / 18])
    assert focal_loss(torch.zeros(2), torch.tensor([0.0, 1])).tolist() == pytest.approx(
        [0.75 * 0.25 * math.log(2), 0.25 * 0.25 * math.log(2)]
    )
    assert heat_loss(torch.tensor([math.inf, -math.inf]), torch.tensor([0.0, 1.0])).isfinite()


def anchors() -> AnchorHead:
    torch.manual_seed(0)
    return AnchorHead(6, RANGE, (24, 32), ANCHORS)


def test_anchors_stand_from_end_to_end():
    grid = anchors().anchors
    assert grid.shape == (32, 24, 4, 7)
    assert grid[0, 0, 0].tolist() == pytest.approx([0, -8, -1.0, 3.9, 1.6, 1.56, 0])
    assert grid[-1, -1, 3].tolist() == pytest.approx([12, 8, 0.265, 0.8, 0.6, 1.73, 1.57])


@pytest.mark.parametrize("counts", [[4, 0, 3], [0, 0, 0]])
def test_anchor_head_trains_without_boxes(counts):
    module = anchors()
    x = torch.randn(3, 32, 24, 6, requires_grad=True)
    boxes, labels = some(counts)
    targets = module.targets(boxes, labels)
    loss = module.loss(module(x), targets)
    loss["loss"].backward()
    assert loss["loss"].isfinite() and x.grad.isfinite().all()
    # Each box on the map has an anchor of its own, whatever their overlap; a sample without boxes is all background.
    positive = [(targets.labels[n] > 0).sum().item() for n in range(3)]
    assert all((number > 0) == (count > 0) for number, count in zip(positive, counts, strict=True))
    assert (targets.labels[1] == 0).all()
    alone = Ragged(boxes.tokens[: counts[0]], torch.tensor([0, counts[0]]))
    assert torch.equal(module.targets(alone, labels[: counts[0]]).labels[0], targets.labels[0])


def test_anchor_head_detects():
    module = anchors()
    boxes = Ragged(
        torch.tensor([[6.0, 1, -1, 3.9, 1.6, 1.56, 0.1], [4, -3, 0.2, 0.8, 0.6, 1.7, 3.0]]), torch.tensor([0, 2])
    )
    targets = module.targets(boxes, torch.tensor([0, 1]))
    scores = torch.full((1, targets.labels.shape[1], 2), -9.0)
    for label in (1, 2):
        scores[..., label - 1][targets.labels == label] = 4.0 - label
    heading = (targets.codes[..., 6] + module.anchors.view(-1, 7)[:, 6] - module.turn) % (2 * math.pi)
    bins = torch.nn.functional.one_hot((heading > math.pi).long(), 2).float()
    (found,) = module.detect({"scores": scores, "codes": targets.codes, "directions": bins})
    assert found.labels.tolist() == [0, 1] and found.boxes.shape == (2, 7)
    apart = (found.boxes[:, 6] - boxes.tokens[:, 6] + math.pi) % (2 * math.pi) - math.pi
    assert torch.allclose(found.boxes[:, :6], boxes.tokens[:, :6], atol=1e-5) and apart.abs().max() < 1e-5
    (none,) = module.detect({"scores": scores - 9, "codes": targets.codes, "directions": bins})
    assert none.boxes.shape == (0, 7)
    with pytest.raises(ValueError, match="the map is 20 x 32 cells, the head is built for 24 x 32"):
        module(torch.randn(1, 32, 20, 6))


def test_codes_there_and_back():
    boxes, _ = some([9])
    grid = anchors().anchors.view(-1, 7)[100:109]
    assert torch.allclose(decode_boxes(encode_boxes(boxes.tokens, grid), grid), boxes.tokens, atol=1e-5)
