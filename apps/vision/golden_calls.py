"""How parts of vision releases are called in golden files: images and flat tokens there, maps of tokens here."""

__all__ = ["call_part", "call_tokens", "channels_first", "flat", "on_map", "pair"]

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from core.verify import Facts


def pair(value: Any) -> tuple[int, int]:
    """A number for both axes, or one each."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def channels_first(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W)."""
    return x.movedim(-1, 1)


def flat(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, H W, C)."""
    return x.flatten(1, 2)


def call_part(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    """A part of a network on maps (B, C, H, W); what is no map is given as it is."""
    return channels_first(run(*(x.movedim(1, -1) if x.ndim == 4 else x for x in inputs.values())))


def call_tokens(run: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Flat tokens (B, H W, C) of a map, and back; its size is an input `x_size`, or the module knows it as `size`."""
    size = [int(n) for n in inputs["x_size"]] if "x_size" in inputs else run.module.size
    return flat(run(next(iter(inputs.values())).unflatten(1, size)))


def on_map(build: Callable[[Facts], nn.Module], size: Callable[[Facts], tuple[int, int]]) -> Callable:
    """A module that knows the size of its map, for `call_tokens`."""

    def make(facts: Facts) -> nn.Module:
        module = build(facts)
        module.size = size(facts)  # type: ignore[assignment]
        return module

    return make
