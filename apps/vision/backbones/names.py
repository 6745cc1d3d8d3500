"""The names of a release, as data, and which of them a network of ours takes."""

__all__ = ["Release"]

from dataclasses import dataclass, replace

from torch import nn

from apps.vision.backbones.base import Normed
from apps.vision.backbones.classifier import Classifier
from core.checkpoint import Mapping, Rule


@dataclass(frozen=True)
class Release:
    """Where our tensors come from.

    Attributes:
        trunk: rules for the backbone, under its own names.
        head: rules for the classification head, under the head's own names.
        norms: rules for the norms of `Normed`, as `{i}.{p}`.
        ignore: official names that are rebuilt here (index tables, masks).
    """

    trunk: tuple[Rule, ...]
    head: tuple[Rule, ...] = ()
    norms: tuple[Rule, ...] = ()
    ignore: tuple[str, ...] = ()

    def mapping(self, network: nn.Module) -> Mapping:
        """The rules for a backbone, a classifier or a normed backbone; what belongs to another of them is ignored."""
        parts = {"backbone.": self.trunk, "head.": self.head, "norms.": self.norms}
        if isinstance(network, Classifier):
            taken = ("backbone.", "head.")
        elif isinstance(network, Normed):
            taken = ("backbone.", "norms.")
        else:
            parts, taken = {"": self.trunk, "head.": self.head, "norms.": self.norms}, ("",)
        rules = [replace(rule, target=part + rule.target) for part in taken for rule in parts[part]]
        spare = [name for part, own in parts.items() if part not in taken for rule in own for name in rule.sources]
        return Mapping(*rules, ignore=(*self.ignore, *spare))
