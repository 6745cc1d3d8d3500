"""kMaX-DeepLab's panoptic post-processing, transcribed operation by operation from its PyTorch release.

Every query passes over the whole map several times: its own pixels, those that are still free, their numbers, the ids.
"""

__all__ = ["panoptic_inference"]

import torch
import torch.nn.functional as F
from torch import Tensor


def panoptic_inference(
    classes: Tensor,
    masks: Tensor,
    things: set[int],
    pixel: float = 0.4,
    thing: float = 0.7,
    stuff: float = 0.5,
    overlap: float = 0.8,
    class_power: float = 1.0,
    mask_power: float = 1.0,
) -> tuple[Tensor, list[int]]:
    """(H, W) numbers of segments, 0 for void, and their classes; of logits (N, K + 1) and (N, H, W)."""
    scores, labels = F.softmax(classes, dim=-1)[..., :-1].max(-1)
    shares = F.softmax(masks, dim=0)
    owned = shares > pixel
    flat, owned_flat = shares.flatten(1), owned.flatten(1).float()
    counts = owned_flat.sum(1)
    means = (flat * owned_flat).sum(1) / torch.clamp(counts, min=1.0)
    order = torch.argsort(scores**class_power * means**mask_power, dim=-1, descending=True)
    result = torch.zeros(masks.shape[1:], dtype=torch.int32, device=masks.device)
    found: list[int] = []
    known: dict[int, int] = {}
    for step in range(len(masks)):
        n = int(order[step].item())
        own, score, label = owned[n], scores[n].item(), int(labels[n].item())
        is_thing = label in things
        sure = (is_thing and score > thing) or (not is_thing and score > stuff)
        before = own.float().sum()
        free = torch.logical_and(own, result == 0)
        after = free.float().sum()
        enough = after > before * overlap
        if sure and enough:
            if not is_thing:
                if label in known:
                    result[free] = known[label]
                    continue
                known[label] = len(found) + 1
            found.append(label)
            result[free] = len(found)
    return result, found
