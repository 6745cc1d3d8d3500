"""The evaluation protocol under the names of the golden files; there is no module and no weight in it."""

__all__ = ["GOLDENS"]

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from apps.vision.superres import metrics
from apps.vision.superres.resize import modcrop, replicate, resize, symmetric
from core.verify import Facts, Golden

SCALES = (2, 3, 4)
BORDERS = (0, 2, 3, 4)
Images = dict[str, np.ndarray]


def imresize(images: Images) -> Images:
    """Shrinking by each convention, and enlarging what `lr_*` is."""
    image = images["hr"]
    exact = image.astype(np.float64)
    found = {
        "down_quarter_without_modcrop": resize(image, scale=0.25),
        "down_0.3_float64": resize(exact, scale=0.3),
        "to_size_17x23_float64": resize(exact, size=(17, 23)),
        "up_x3_float64": resize(exact[:12, :10], scale=3),
    }
    for s in SCALES:
        cut = modcrop(image, s)
        found[f"lr_x{s}"] = resize(cut, scale=1 / s, border=symmetric)
        found[f"lr_x{s}_replicate"] = resize(cut, scale=1 / s, border=replicate)
        once = resize(cut.astype(np.float64), scale=1 / s)
        found[f"lr_x{s}_float_input_rounded_once"] = np.floor(once + 0.5).clip(0, 255).astype(np.uint8)
        found[f"bicubic_up_x{s}"] = resize(found[f"lr_x{s}"], scale=s)
    return found


def psnr_ssim(images: Images) -> Images:
    """Both metrics on RGB, on luma and on rounded luma; a gray image is its own luma."""
    pair = images["a"], images["b"]
    kinds = {"rgb": pair, "y": pair, "rounded_y": pair}
    found = {}
    if pair[0].ndim == 3:
        kinds["y"] = tuple(metrics.to_y(x) for x in pair)
        kinds["rounded_y"] = tuple(metrics.to_y(x, rounded=True) for x in pair)
        found = {"y_of_a": kinds["y"][0], "y_of_a_rounded": kinds["rounded_y"][0].astype(np.uint8)}
    for kind, (a, b) in kinds.items():
        for border in BORDERS:
            found[f"psnr_{kind}_crop{border}"] = np.array([metrics.psnr(a, b, border)])
            found[f"ssim_{kind}_crop{border}"] = np.array([metrics.ssim(a, b, border)])
    return found


def _on_arrays(facts: Facts, function: Callable[[Images], Images]) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        found = function({name: value.numpy() for name, value in inputs.items()})
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in found.items()}

    return run


def _by_name(run: Callable, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return run(inputs)


GOLDENS = {
    "sr_protocol": {
        "imresize": Golden(partial(_on_arrays, function=imresize), call=_by_name),
        "psnr_ssim": Golden(partial(_on_arrays, function=psnr_ssim), call=_by_name),
    }
}
