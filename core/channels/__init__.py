"""Channel mixers: what treats every token alike, `(..., dim) -> (..., dim)`."""

from core.channels.mlp import MLP, GatedMLP

__all__ = ["MLP", "GatedMLP"]
