"""ResNet's weights under the names of torchvision and timm, and of detectron2."""

__all__ = ["resnet_detectron", "resnet_torchvision"]

from apps.vision.backbones.names import Release
from apps.vision.backbones.resnet import ResNet
from core.checkpoint import Rule, same


def resnet_torchvision(network: ResNet) -> Release:
    """torchvision's and timm's `resnet*`."""
    rules = [*_conv(f"{_stem}conv", "conv1", "bn1")]
    for ours, layer, block, first in _blocks(network):
        theirs = f"layer{layer}.{block}."
        for n, part in enumerate(first, 1):
            rules += _conv(f"{ours}{part}", f"{theirs}conv{n}", f"{theirs}bn{n}")
        rules += _conv(f"{ours}short", f"{theirs}downsample.0", f"{theirs}downsample.1")
    return Release(tuple(rules), (same("linear.{p}", "fc.{p}"),), ignore=("{rest*}.num_batches_tracked",))


def resnet_detectron(network: ResNet) -> Release:
    """detectron2's ResNet, whose norms stand inside of the convolutions."""
    rules = [*_conv(f"{_stem}conv", "stem.conv1", "stem.conv1.norm")]
    for ours, layer, block, first in _blocks(network):
        theirs = f"res{layer + 1}.{block}."
        named = [(part, f"conv{n}") for n, part in enumerate(first, 1)] + [("short", "shortcut")]
        for part, name in named:
            rules += _conv(f"{ours}{part}", f"{theirs}{name}", f"{theirs}{name}.norm")
    ignore = ("{rest*}.num_batches_tracked",)
    return Release(tuple(rules), (same("linear.{p}", "linear.{p}"),), ignore=ignore)


_stem = "stages.0.down."


def _conv(ours: str, conv: str, norm: str) -> list[Rule]:
    weights = [same(f"{ours}.norm.{p}", f"{norm}.{p}") for p in ("weight", "bias", "running_mean", "running_var")]
    return [same(f"{ours}.conv.weight", f"{conv}.weight"), *weights]


def _blocks(network: ResNet) -> list[tuple[str, int, int, list[str]]]:
    """Our name, layer (from 1), block (from 0) and the convolutions of every block."""
    found = []
    for place, stage in enumerate(network.stages):
        layer = place + (0 if network.stem else 1)
        if layer == 0:
            continue
        blocks = [(f"stages.{place}.blocks.{n}.", block) for n, block in enumerate(stage.blocks)]  # type: ignore[arg-type]
        if place:
            blocks.insert(0, (f"stages.{place}.down.block.", stage.down.block))  # type: ignore[union-attr]
        for n, (name, block) in enumerate(blocks):
            found.append((name, layer, n, ["middle", "leave"] if block.enter is None else ["enter", "middle", "leave"]))
    return found
