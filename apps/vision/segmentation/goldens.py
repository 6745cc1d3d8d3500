"""Evaluation and losses under the names of the golden files; there is no module and no weight in them."""

__all__ = ["GOLDENS"]

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from apps.vision.segmentation import binary_losses, losses, mask_losses
from apps.vision.segmentation.metrics.boundary import boundary_f, region_j
from apps.vision.segmentation.metrics.confusion import confusion, scores
from apps.vision.segmentation.models import Logits
from core.verify import Facts, Golden


def by_name(run: Callable, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Functions of goldens take all inputs as one dictionary."""
    return run(inputs)


def matrix(facts: Facts) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """The confusion matrix of HRNet's evaluator and its means over the classes that occur."""

    def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        counts = confusion(inputs["label"], inputs["pred"], facts.config["num_classes"], facts.config["ignore_index"])
        found = scores(counts)
        return {
            "confusion": counts,
            # There, a class without pixels has 0.
            "iou": found.iou.nan_to_num(0.0),
            "miou_present": torch.tensor(found.miou),
            "mean_acc_present": torch.tensor(found.macc),
            "pixel_acc": torch.tensor(found.aacc),
        }

    return run


def davis(facts: Facts) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """F at both tolerances and J, mask by mask."""
    relative, pixels = facts.config["bound_th"]

    def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        pairs = list(zip(inputs["pred"].numpy(), inputs["label"].numpy(), strict=True))
        return {
            "f_008": torch.tensor([boundary_f(p, g, relative) for p, g in pairs]),
            "f_3px": torch.tensor([boundary_f(p, g, pixels) for p, g in pairs]),
            "j": torch.tensor([region_j(p, g) for p, g in pairs]),
        }

    return run


def p2at(facts: Facts) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """OHEM under several limits, with a helping head, and the loss of an edge map."""
    ignore = facts.config["ignore_index"]
    limits = dict(facts.config["ohem"])
    other, main = facts.config["balance"]
    helper = losses.CrossEntropy(ignore, count_ignored=True)

    def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        mined = {name: losses.Ohem(ignore, threshold=t, keep=keep) for name, (t, keep) in limits.items()}
        found = {name: loss(inputs["final"], inputs["y"]) for name, loss in mined.items()}
        both = losses.DeepSupervision(mined["balanced"], (other / main,), helper)
        found["balanced"] = main * both(Logits(inputs["final"], (inputs["aux"],)), {"labels": inputs["y"]})
        boundary = binary_losses.Boundary(bce=facts.config["bce_weight"], smooth=facts.config["smooth"])
        return found | {"boundary": boundary(inputs["edge"], inputs["b"])}

    return run


def focal(facts: Facts) -> Callable[[Tensor, Tensor], Tensor]:
    """InterFormer's loss, a value for each sample."""
    return lambda logits, labels: binary_losses.normalised_focal(
        logits, labels, facts.config["alpha"], facts.config["gamma"]
    )


def classes(facts: Facts) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """kMaX: classes of queries."""
    return lambda logits, true, weight: mask_losses.class_cross_entropy(
        logits, true, weight, facts.config["focal_loss_alpha"]
    )


def discrimination(facts: Facts) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """kMaX: likeness of pixels, whose features the network makes of unit length."""
    config = facts.config
    return lambda pixels, true, void, rarity: mask_losses.discrimination(
        F.normalize(pixels, dim=1),
        true,
        void,
        rarity,
        config["sample_k"],
        config["sample_temperature"],
        config["instance_discrimination_temperature"],
    )


def semantic(facts: Facts) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """kMaX: the helping semantic head; class K stands for what is ignored."""
    config = facts.config

    def run(logits: Tensor, labels: Tensor, void: Tensor, rarity: Tensor) -> Tensor:
        labels = labels.masked_fill(labels == config["num_classes"], -1)
        maps = [mask_losses.nearest(x, logits.shape[2:]) for x in (labels, void, rarity)]
        return mask_losses.semantic_cross_entropy(
            logits, *maps, samples=config["sample_k"], temperature=config["sample_temperature"]
        )

    return run


GOLDENS = {
    "p2at": {"W": Golden(p2at, call=by_name)},
    "interformer": {"NormalizedFocalLoss": Golden(focal)},
    "kmax": {
        "focal_cross_entropy_loss": Golden(classes),
        "softmax_ce_loss": Golden(lambda facts: mask_losses.mask_cross_entropy),
        "dice_loss": Golden(lambda facts: mask_losses.mask_dice),
        "pixelwise_insdis_loss": Golden(discrimination),
        "aux_semantic_loss": Golden(semantic),
    },
    "seg_metrics": {
        "get_confusion_matrix": Golden(matrix, call=by_name),
        "db_eval_boundary": Golden(davis, call=by_name),
    },
}
