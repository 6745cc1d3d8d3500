"""What the tables of goldens of image-shaped releases share: images are tokens here, 1 x 1 convolutions are linear."""

__all__ = ["on_tokens", "pointwise"]

from collections.abc import Callable

from torch import Tensor

from core.checkpoint import Rule, derive, same


def on_tokens(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    """An image (B, C, H, W) through a module of tokens, and back."""
    return run(inputs["x"].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def pointwise(ours: str, theirs: str) -> list[Rule]:
    """A 1 x 1 convolution as a linear layer; a bias where there is one."""
    return [
        derive(f"{ours}.weight", f"{theirs}.weight", lambda w: w[..., 0, 0]),
        same(f"{ours}.bias", f"{theirs}.bias"),
    ]
