"""How the releases' networks are called in golden files: images in, feature maps in the release's layout out."""

__all__ = ["Whole", "call_pyramid", "call_whole", "released"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from apps.vision.backbones.base import Backbone, Normed
from apps.vision.backbones.classifier import Classifier
from apps.vision.backbones.names import Release
from apps.vision.golden_calls import channels_first
from core.checkpoint import Mapping
from core.verify import Facts


class Whole(Classifier):
    """A classifier that tells its features too."""

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:  # type: ignore[override]
        features = self.backbone(x)
        return features, self.head(features[-1])


def call_whole(layout: Callable[[Tensor], Tensor]) -> Callable[[Callable, dict[str, Tensor]], dict[str, Tensor]]:
    """Logits and the features of every level."""

    def call(run: Callable, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        features, logits = run(next(iter(inputs.values())))
        return {"logits": logits} | {f"stage{i}": layout(x) for i, x in enumerate(features)}

    return call


def call_pyramid(run: Callable, inputs: dict[str, Tensor]) -> list[Tensor]:
    """Feature maps (B, C, H, W)."""
    return [channels_first(x) for x in run(next(iter(inputs.values())))]


def released(build: Callable[[Facts], nn.Module], names: Callable[[Any], Release]) -> Callable[[Facts], Mapping]:
    """The mapping of the network that the facts describe."""

    def make(facts: Facts) -> Mapping:
        with torch.device("meta"):
            network = build(facts)
        backbone = network if isinstance(network, Backbone) else network.backbone
        assert isinstance(network, Backbone | Normed | Classifier)
        return names(backbone).mapping(network)

    return make
