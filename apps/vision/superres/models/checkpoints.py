"""Weights of the releases (.pth) into the networks here: `load_release(hat(4), "HAT_SRx4.pth")`.

A file holds `params_ema` or `params` (the average is taken where there are both), perhaps with a `module.` prefix;
index tables and masks in it are rebuilt.  What does not fit is said in one sentence.
"""

__all__ = ["MAPPINGS", "load_release", "scale_of"]

import re
from collections.abc import Callable
from math import isqrt
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from apps.vision.superres.models.dlgsanet import DLGSANet
from apps.vision.superres.models.drct import DRCT
from apps.vision.superres.models.drsformer import DRSformer
from apps.vision.superres.models.edsr import EDSR
from apps.vision.superres.models.goldens_dlgsanet import dlgsanet_mapping
from apps.vision.superres.models.goldens_drct import drct_mapping
from apps.vision.superres.models.goldens_drsformer import drsformer_mapping
from apps.vision.superres.models.goldens_edsr import edsr_mapping
from apps.vision.superres.models.goldens_hat import hat_mapping
from apps.vision.superres.models.goldens_rgt import rgt_mapping
from apps.vision.superres.models.goldens_swinir import swinir_mapping
from apps.vision.superres.models.hat import HAT
from apps.vision.superres.models.rgt import RGT
from apps.vision.superres.models.swinir import SwinIR
from core.checkpoint import Mapping, load, read
from core.errors import UserError

# The official names of a network as it was built, by its class.
MAPPINGS: dict[type[nn.Module], Callable[[Any], Mapping]] = {
    DLGSANet: dlgsanet_mapping,
    DRCT: drct_mapping,
    DRSformer: drsformer_mapping,
    EDSR: edsr_mapping,
    HAT: hat_mapping,
    RGT: rgt_mapping,
    SwinIR: swinir_mapping,
}


def load_release(network: nn.Module, path: str | Path) -> None:
    """Fills a network in place.

    Args:
        network: of a class in `MAPPINGS`.
        path: a release's file, read without executing what may be pickled in it.

    Raises:
        UserError: no such file, no checkpoint, of another scale, width or architecture.
    """
    path = Path(path)
    if type(network) not in MAPPINGS:
        known = ", ".join(sorted(cls.__name__ for cls in MAPPINGS))
        raise UserError(f"{type(network).__name__}: no release of it is known; weights can be loaded into {known}.")
    official = read(path)
    mapping = MAPPINGS[type(network)](network)
    _check_sizes(network, official, path.name)
    load(network, official, mapping, f"checkpoint {path.name}")


def scale_of(official: dict[str, Tensor]) -> int | None:
    """How much the network of a release enlarges, read from its tensors; None where they do not tell."""
    steps = [name for name in official if re.fullmatch(r"upsample\.\d+\.weight", name)]
    if "conv_up1.weight" in official:
        return 4 if "conv_up2.weight" in official else 2
    if not steps:
        return 1 if "conv_last.weight" in official else None
    rows, columns = official[steps[0]].shape[:2]
    if "conv_last.weight" in official:
        return 3 if rows == 9 * columns else 2 ** len(steps)
    first = official.get("conv_first.weight")
    return isqrt(rows // (3 if first is None else first.shape[1]))


def _check_sizes(network: nn.Module, official: dict[str, Tensor], name: str) -> None:
    """Scale and width, which are what people mix up."""
    built, scale = getattr(network, "scale", None), scale_of(official)
    if built is not None and scale is not None and scale != built:
        raise UserError(
            f"checkpoint {name} holds x{scale} weights but the model is built for x{built}; "
            f"use a model of scale {scale} or the x{built} file."
        )
    first, enter = official.get("conv_first.weight"), getattr(network, "enter", None)
    if first is not None and isinstance(enter, nn.Conv2d) and first.shape != enter.weight.shape:
        (width, channels), (dim, own) = first.shape[:2], enter.weight.shape[:2]
        raise UserError(
            f"checkpoint {name} holds weights of width {width} for {channels} channels but the model has width {dim} "
            f"and {own} channels; use the variant the file is for."
        )
