"""What evaluators and test loops of segmentation releases do, transcribed operation by operation.

`one_hot_counts` is the evaluator that TransKD and others took from ERFNet: labels and predictions as stacks of one map
a class. `padded_windows` is the sliding window of the mmsegmentation family: every window's scores padded to the whole
image and added, divided by counts made the same way, a softmax, the largest. The others are parts of P2AT, of the
self-guided network and of TransKD on our weights.
"""

__all__ = ["joined_levels", "local_refinement", "one_hot_counts", "padded_windows", "position_attention", "taught"]

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from apps.vision.segmentation.models.distillation import context_loss
from apps.vision.segmentation.models.layers import maps, resize
from apps.vision.segmentation.models.p2at import LocalRefinement
from apps.vision.segmentation.models.segformer import SegFormerHead
from apps.vision.segmentation.models.segmenter import EncoderDecoder
from apps.vision.segmentation.models.self_guided import PositionAttention
from apps.vision.segmentation.models.transkd import TransKD


def one_hot_counts(label: Tensor, prediction: Tensor, classes: int, ignore: int) -> tuple[Tensor, Tensor, Tensor]:
    """Right, false and missed pixels of each class, of maps (B, H, W); `ignore` is the last class."""
    stacks = []
    for values in (prediction, label):
        stack = torch.zeros(len(values), classes + 1, *values.shape[1:])
        stacks.append(stack.scatter_(1, values[:, None], 1).float())
    ignored = stacks[1][:, ignore : ignore + 1]
    found, true = stacks[0][:, :ignore], stacks[1][:, :ignore]

    def summed(maps: Tensor) -> Tensor:
        return maps.sum(0, keepdim=True).sum(2, keepdim=True).sum(3, keepdim=True).squeeze()

    return summed(found * true), summed(found * (1 - true - ignored)), summed((1 - found) * true)


def padded_windows(network: Callable[[Tensor], Tensor], image: Tensor, size: int, stride: int, classes: int) -> Tensor:
    """(H, W) classes."""
    height, width = image.shape[2:]
    rows = max(height - size + stride - 1, 0) // stride + 1
    columns = max(width - size + stride - 1, 0) // stride + 1
    total, count = image.new_zeros(1, classes, height, width), image.new_zeros(1, 1, height, width)
    for row in range(rows):
        for column in range(columns):
            bottom, right = min(row * stride + size, height), min(column * stride + size, width)
            top, left = max(bottom - size, 0), max(right - size, 0)
            made = network(image[:, :, top:bottom, left:right])
            total += F.pad(made, (left, width - right, top, height - bottom))
            count[:, :, top:bottom, left:right] += 1
    return (total / count).softmax(1).argmax(1)[0]


def local_refinement(module: LocalRefinement, x: Tensor) -> Tensor:
    """P2AT's: the mean is spread over the map before its convolution, and both branches are added before the last."""
    a = module.enter(x)
    far = module.far(a.mean((2, 3), keepdim=True).expand_as(a))
    return module.out(far + module.near(a).sigmoid())


def position_attention(module: PositionAttention, x: Tensor) -> Tensor:
    """The self-guided network's: the matrix of all places as such."""
    q, k, v = (layer(x).flatten(2) for layer in (module.q, module.k, module.v))
    scores = torch.bmm(q.transpose(1, 2), k).softmax(-1)
    y = torch.bmm(v, scores.transpose(1, 2)).view_as(x)
    return module.gain * y + x


def joined_levels(head: SegFormerHead, features: Sequence[Tensor]) -> Tensor:
    """SegFormer's head: every level at full width and at the finest size before one convolution joins them."""
    size = (features[0].shape[1], features[0].shape[2])
    made = [resize(level(x).movedim(-1, 1), size) for level, x in zip(head.levels, features, strict=True)]
    return head.out(head.dropout(head.fuse(torch.cat(made[::-1], 1))))


def taught(network: TransKD, teacher: EncoderDecoder, x: Tensor) -> Tensor:
    """TransKD's step: the teacher with its head, and with gradients into all of it."""
    embeddings, features = network.levels(network.student.backbone, x)
    wanted, goals = network.levels(teacher.backbone, x)
    logits = resize(joined_levels(network.student.head, features), (x.shape[2], x.shape[3]))  # type: ignore[arg-type]
    # What the release computes of the teacher and does not use.
    unused = joined_levels(teacher.head, goals)  # type: ignore[arg-type]
    loss = context_loss(network.fused(features), maps(goals))
    for weight, made, goal in zip(network.weights, network.matched(x, embeddings, features), wanted, strict=False):
        loss = loss + weight * F.mse_loss(made, goal)
    return logits.square().mean() + loss + 0 * unused.detach().mean()
