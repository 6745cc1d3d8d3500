"""Evaluation and losses under the names of the golden files; there is no module and no weight in them."""

__all__ = ["GOLDENS"]

from collections.abc import Callable

import torch
from torch import Tensor

from apps.vision.segmentation.metrics.boundary import boundary_f, region_j
from apps.vision.segmentation.metrics.confusion import confusion, scores
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


GOLDENS = {
    "seg_metrics": {
        "get_confusion_matrix": Golden(matrix, call=by_name),
        "db_eval_boundary": Golden(davis, call=by_name),
    },
}
