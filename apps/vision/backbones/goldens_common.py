"""How the releases' networks are called in golden files: images in, feature maps in the release's layout out."""

__all__ = [
    "Whole",
    "call_part",
    "call_pyramid",
    "call_tokens",
    "call_whole",
    "channels_first",
    "flat",
    "on_map",
    "pair",
    "released",
]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from apps.vision.backbones.base import Backbone, Normed
from apps.vision.backbones.classifier import Classifier
from apps.vision.backbones.names import Release
from core.checkpoint import Mapping
from core.verify import Facts


class Whole(Classifier):
    """A classifier that tells its features too."""

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:  # type: ignore[override]
        features = self.backbone(x)
        return features, self.head(features[-1])


def pair(value: Any) -> tuple[int, int]:
    """A number for both axes, or one each."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def channels_first(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W)."""
    return x.movedim(-1, 1)


def flat(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, H W, C)."""
    return x.flatten(1, 2)


def call_whole(layout: Callable[[Tensor], Tensor]) -> Callable[[Callable, dict[str, Tensor]], dict[str, Tensor]]:
    """Logits and the features of every level."""

    def call(run: Callable, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        features, logits = run(next(iter(inputs.values())))
        return {"logits": logits} | {f"stage{i}": layout(x) for i, x in enumerate(features)}

    return call


def call_part(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    """A part of a network on a map (B, C, H, W)."""
    (x,) = inputs.values()
    return channels_first(run(x.movedim(1, -1)))


def call_pyramid(run: Callable, inputs: dict[str, Tensor]) -> list[Tensor]:
    """Feature maps (B, C, H, W)."""
    return [channels_first(x) for x in run(next(iter(inputs.values())))]


def call_tokens(run: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Flat tokens (B, H W, C) of a map whose size the module knows as `size`, and back."""
    return flat(run(next(iter(inputs.values())).unflatten(1, run.module.size)))


def on_map(build: Callable[[Facts], nn.Module], size: Callable[[Facts], tuple[int, int]]) -> Callable:
    """A module that knows the size of its map, for `call_tokens`."""

    def make(facts: Facts) -> nn.Module:
        module = build(facts)
        module.size = size(facts)  # type: ignore[assignment]
        return module

    return make


def released(build: Callable[[Facts], nn.Module], names: Callable[[Any], Release]) -> Callable[[Facts], Mapping]:
    """The mapping of the network that the facts describe."""

    def make(facts: Facts) -> Mapping:
        with torch.device("meta"):
            network = build(facts)
        backbone = network if isinstance(network, Backbone) else network.backbone
        assert isinstance(network, Backbone | Normed | Classifier)
        return names(backbone).mapping(network)

    return make
