"""The contract of token mixers.

    forward(x, *, mask=None, context=None, context_mask=None) -> y

- x is a grid of tokens `(B, *grid, C)` of rank 1 to 3, channels last, or, where its annotation says so, a `Ragged` set.
  y has x's batch and grid (offsets) and the width the constructor says, which is x's unless it says otherwise.
- `mask (B, *grid)` is boolean, True = real token. Padded inputs are set to 0 on entry, outputs at real tokens do not
  depend on padding, outputs at padding are 0.
- `context (B, *any grid, C')` is what x attends to instead of itself; `context_mask` is its mask.
- What a mixer cannot do is absent from its signature. One whose maths depends on the extent of the map has no `mask`.
- `causal` is a constructor argument: y at t depends on x up to t, in the raster order of the grid. Context is seen
  whole.
- Recurrent forms add `initial_state(batch, device, dtype)` and `step(x_t (B, C), state) -> (y_t, state)`, the state a
  tuple of tensors, and `extend(x (B, T, C), state) -> (y, state)`, T steps in parallel from a state (prefill, state
  passing). A state is used once: a step may write into it.
- An auxiliary loss is kept in `self.aux` by the forward pass in training that made it, None otherwise;
  `auxiliary_loss(model)` sums them.
- Caches of sizes live with plans or in plain attributes, never in the state dict.

`core.testing.check_mixer` holds a mixer to all of it.
"""

__all__ = ["Mixer", "auxiliary_loss", "check_map", "init_linear"]

import torch
from torch import Tensor, nn

from core.layout import grid_of


class Mixer(nn.Module):
    """Base of all token mixers; the contract stands in the module's docstring.

    Attributes:
        causal: whether y at t depends on x up to t alone, in raster order.
    """

    causal: bool = False


def init_linear(*layers: nn.Linear) -> None:
    """Weights that keep the variance of normal input (Glorot), biases 0."""
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def auxiliary_loss(model: nn.Module) -> Tensor:
    """Sum of the auxiliary losses that the last forward pass left in a model's modules; 0 without any."""
    found = (getattr(module, "aux", None) for module in model.modules())
    losses = [loss for loss in found if isinstance(loss, Tensor)]
    return torch.stack(losses).sum() if losses else torch.zeros(())


def check_map(mixer: Mixer, x: Tensor, grid: tuple[int, ...], dim: int) -> None:
    """For mixers whose weights belong to places.

    Raises:
        ValueError: where x is not (B, *grid, dim).
    """
    if grid_of(x) != grid or x.shape[-1] != dim:
        raise ValueError(
            f"{type(mixer).__name__}: tokens {tuple(x.shape)} for a map {grid} of width {dim}; "
            "its weights belong to places, resize the map to that size"
        )
