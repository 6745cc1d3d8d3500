"""Weights of the releases and of timm into the backbones: `load_release(Classifier(swin_tiny()), "swin_tiny.pth")`.

A file of a classifier fills a `Classifier`, a bare backbone (its head is left out) and the backbone inside a `Normed`,
whose norms then stay as they are.  What does not fit is said in one sentence.
"""

__all__ = ["RELEASES", "load_backbone", "load_release"]

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from apps.vision.backbones.base import Backbone, Normed
from apps.vision.backbones.biformer import BiFormer
from apps.vision.backbones.classifier import Classifier
from apps.vision.backbones.convnext import ConvNeXt
from apps.vision.backbones.crossformer import CrossFormer
from apps.vision.backbones.cswin import CSWin
from apps.vision.backbones.davit import DaViT
from apps.vision.backbones.efficientvit import EfficientViT
from apps.vision.backbones.hornet import HorNet
from apps.vision.backbones.maxvit import MaxViT
from apps.vision.backbones.metaformer import MetaFormer
from apps.vision.backbones.mit import MiT
from apps.vision.backbones.names import Release
from apps.vision.backbones.names_biformer import biformer_release
from apps.vision.backbones.names_convnext import convnext_release, convnext_timm, convnext_torchvision
from apps.vision.backbones.names_crossformer import crossformer_official
from apps.vision.backbones.names_cswin import cswin_official
from apps.vision.backbones.names_davit import davit_official, davit_timm
from apps.vision.backbones.names_hornet import hornet_release
from apps.vision.backbones.names_maxvit import maxvit_timm
from apps.vision.backbones.names_metaformer import metaformer_release, metaformer_timm, poolformer_release
from apps.vision.backbones.names_mit import mit_official
from apps.vision.backbones.names_nat import nat_release
from apps.vision.backbones.names_resnet import resnet_detectron, resnet_torchvision
from apps.vision.backbones.names_rmt import rmt_release
from apps.vision.backbones.names_squeezed import efficientvit_release, efficientvit_timm, shvit_release, shvit_timm
from apps.vision.backbones.names_swin import swin_official, swin_timm, swin_torchvision
from apps.vision.backbones.nat import NAT
from apps.vision.backbones.resnet import ResNet
from apps.vision.backbones.rmt import RMT
from apps.vision.backbones.shvit import SHViT
from apps.vision.backbones.swin import Swin
from core.checkpoint import load, read
from core.errors import UserError

# Where networks of `omnimix segmentation` keep their backbone.
PART = "net.backbone."

# The names that a backbone's weights go by, one function for each kind of file; they may ask how it was built.
RELEASES: dict[type[Backbone], Sequence[Callable[[Any], Release]]] = {
    BiFormer: (biformer_release,),
    ConvNeXt: (convnext_release, convnext_timm, convnext_torchvision),
    HorNet: (hornet_release,),
    MetaFormer: (metaformer_release, poolformer_release, metaformer_timm),
    MiT: (mit_official,),
    CSWin: (cswin_official,),
    NAT: (nat_release,),
    DaViT: (
        davit_official,
        davit_timm,
    ),
    ResNet: (resnet_torchvision, resnet_detectron),
    RMT: (rmt_release,),
    CrossFormer: (crossformer_official,),
    EfficientViT: (efficientvit_release, efficientvit_timm),
    SHViT: (shvit_release, shvit_timm),
    MaxViT: (maxvit_timm,),
    Swin: (swin_official, swin_timm, swin_torchvision),
}


def load_release(network: nn.Module, path: str | Path) -> None:
    """Fills a backbone, `Classifier` or `Normed` in place.

    Args:
        network: over a backbone of a class in `RELEASES`.
        path: a file of the release or of timm, read without executing what may be pickled in it.

    Raises:
        UserError: no such file, no checkpoint, of another architecture or size.
    """
    path = Path(path)
    backbone = network.backbone if isinstance(network, Classifier | Normed) else network
    if type(backbone) not in RELEASES:
        known = ", ".join(sorted(cls.__name__ for cls in RELEASES))
        raise UserError(f"{type(backbone).__name__}: no release of it is known; weights can be loaded into {known}.")
    official = read(path)
    releases = [names(backbone) for names in RELEASES[type(backbone)]]  # type: ignore[index]
    release = min(releases, key=lambda r: len(r.mapping(network).unexpected(official)))
    if isinstance(network, Normed):
        norms = [name for name in network.state_dict() if name.startswith("norms.")]
        if not set(norms) & set(release.mapping(network)(official)):
            network = network.backbone
    load(network, official, release.mapping(network), f"checkpoint {path.name}")


def load_backbone(backbone: Backbone, path: str | Path) -> None:
    """Fills a backbone from a checkpoint of `omnimix segmentation fit` or from a release's file, as `load_release`.

    Args:
        backbone: of the class that was trained.
        path: of the checkpoint.

    Raises:
        UserError: no such file, no checkpoint, of another architecture or size.
    """
    path = Path(path)
    official = read(path)
    own = {name.removeprefix(PART): value for name, value in official.items() if name.startswith(PART)}
    if not own:
        load_release(backbone, path)
        return
    wanted = {name: tuple(value.shape) for name, value in backbone.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in own.items()}
    if wanted != given:
        wrong = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
        raise UserError(
            f"checkpoint {path.name}: its backbone does not fit {type(backbone).__name__} ({len(wrong)} tensors, such "
            f"as {wrong[0]}); build it as it was trained."
        )
    backbone.load_state_dict(own)
