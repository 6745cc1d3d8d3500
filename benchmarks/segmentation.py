"""Evaluation and inference of segmentation beside what releases do: `python -m benchmarks segmentation`, one thread.

    metrics     a confusion matrix of two maps of 512 x 1024, 20 classes
    inference   merging sliding windows of a network that costs nothing, 150 classes, 512 x 1024, windows of 512
    systems     P2AT's refinement on 64 x 90 x 120, attention over all places of 64 x 64, and a step of TransKD from
                MiT-B2 to MiT-B0 on two images of 128 x 256
    panoptic    segments out of 128 queries on 480 x 640, 20 of them sure of their class

Both sides are compared before anything is timed.
"""

__all__ = ["GROUPS"]

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from apps.vision.backbones.mit import mit_b0, mit_b2
from apps.vision.segmentation.inference import Windows, class_map
from apps.vision.segmentation.metrics.confusion import confusion
from apps.vision.segmentation.models import EncoderDecoder, MatchLinear, SegFormerHead, TransKD
from apps.vision.segmentation.models.p2at import LocalRefinement
from apps.vision.segmentation.models.self_guided import PositionAttention
from apps.vision.segmentation.panoptic import panoptic
from benchmarks.harness import Ratio, compare
from benchmarks.peers.kmax import panoptic_inference
from benchmarks.peers.segmentation import local_refinement, one_hot_counts, padded_windows, position_attention, taught

Row = tuple[str, Ratio, float | None]


def metrics(repeats: int) -> Iterator[Row]:
    """Labels with a twentieth of void."""
    classes = 19
    label, prediction = torch.randint(0, classes + 1, (2, 512, 1024)), torch.randint(0, classes, (2, 512, 1024))

    def ours() -> Tensor:
        return confusion(label, prediction, classes, ignore=classes)

    def peer() -> tuple[Tensor, Tensor, Tensor]:
        return one_hot_counts(label, prediction, classes, ignore=classes)

    matrix, (tp, fp, fn) = ours(), peer()
    right = matrix.diagonal()
    if not (
        torch.equal(right, tp.long())
        and torch.equal(matrix.sum(0) - right, fp.long())
        and torch.equal(matrix.sum(1) - right, fn.long())
    ):
        raise AssertionError("the counts differ")
    yield "confusion matrix, 20 classes, 2 x 512 x 1024: one-hot maps", compare(ours, peer, max(3, repeats // 3)), 50.0


def inference(repeats: int) -> Iterator[Row]:
    """Windows of 512 with a stride of 341, as ADE20K's; their scores are ready, so only merging is timed."""
    classes, size, stride = 150, 512, 341
    image, ready = torch.zeros(1, 3, 512, 1024), torch.randn(1, classes, 512, 512)

    def ours() -> Tensor:
        return class_map(lambda x: ready, image, Windows((size, size), (stride, stride)))

    def peer() -> Tensor:
        return padded_windows(lambda x: ready, image, size, stride, classes)

    if not torch.equal(ours(), peer()):
        raise AssertionError("the class maps differ")
    yield "sliding windows, 150 classes, 512 x 1024: padded sums", compare(ours, peer, max(3, repeats // 3)), 2.5


def segments(repeats: int) -> Iterator[Row]:
    """Smooth masks as a network makes them at a quarter of the size; 80 of 133 classes are things."""
    queries, classes, sure, things = 128, 133, 20, set(range(80))
    masks = F.interpolate(torch.randn(1, queries, 12, 16), (120, 160), mode="bicubic")
    masks[:, :sure] = masks[:, :sure] * 3 + 4
    masks = F.interpolate(masks, (480, 640), mode="bilinear")[0]
    logits = torch.randn(queries, classes + 1)
    logits[:, -1] += 8
    logits[torch.arange(sure), torch.randint(0, classes, (sure,))] += 14
    found, (theirs, kinds) = panoptic(logits, masks, things), panoptic_inference(logits, masks, things)
    if not (torch.equal(found.segments + 1, theirs.long()) and found.kinds.tolist() == kinds and len(kinds) > sure / 2):
        raise AssertionError("the segments differ")
    ratio = compare(
        lambda: panoptic(logits, masks, things),
        lambda: panoptic_inference(logits, masks, things),
        max(3, repeats // 3),
    )
    yield "panoptic segments, 128 queries, 480 x 640: passes over the map for every query", ratio, 1.5


def systems(repeats: int) -> Iterator[Row]:
    """Parts of systems on the same weights, in the state that counts in use."""
    refine, x = LocalRefinement(64, 64).eval(), torch.randn(1, 64, 90, 120)
    with torch.no_grad():
        torch.testing.assert_close(refine(x), local_refinement(refine, x), rtol=1e-4, atol=1e-4)
        ratio = compare(lambda: refine(x), lambda: local_refinement(refine, x), repeats)
    yield "P2AT's refinement, 64 x 90 x 120: the mean spread first", ratio, 1.5

    attention, y = PositionAttention(64), torch.randn(1, 64, 64, 64, requires_grad=True)
    torch.nn.init.ones_(attention.gain)
    torch.testing.assert_close(attention(y), position_attention(attention, y), rtol=1e-3, atol=1e-3)
    ratio = compare(
        lambda: attention(y).sum().backward(),
        lambda: position_attention(attention, y).sum().backward(),
        max(3, repeats // 3),
    )
    yield "attention over all places, 64 x 64, 64 channels, training: matrices", ratio, 1.3

    images = torch.rand(2, 3, 128, 256)
    teacher = EncoderDecoder(20, mit_b2(drop_path=0.0), partial(SegFormerHead, dim=768, dropout=0.0)).eval()
    network = TransKD(
        20, mit_b0(drop_path=0.0), partial(SegFormerHead, dropout=0.0), mit_b2(drop_path=0.0), MatchLinear
    )
    network._teacher[0].load_state_dict(teacher.backbone.state_dict())

    def ours() -> Tensor:
        made = network(images).main.square().mean()
        assert network.aux is not None
        return made + network.aux

    torch.testing.assert_close(ours(), taught(network, teacher, images), rtol=1e-4, atol=1e-5)
    ratio = compare(
        lambda: ours().backward(), lambda: taught(network, teacher, images).backward(), max(3, repeats // 3)
    )
    yield "TransKD, a step of MiT-B2 to MiT-B0, 2 x 128 x 256: teacher with head and gradients", ratio, 2.3


GROUPS = {"systems": systems, "metrics": metrics, "inference": inference, "panoptic": segments}
