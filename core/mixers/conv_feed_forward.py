"""Feed-forward layer with a depthwise convolution behind it (the convolution module of MossFormer, Zhao & Ma 2023):

    h = SiLU(W norm(x) + b),    y = dropout(h + depthwise(h))

Several of them over the same frames are one normalisation, one product and one convolution (`expand`).
"""

__all__ = ["ConvFeedForward", "expand"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import zero_padding
from core.mixers.base import Mixer
from core.norms import FoldedLayerNorm, ScaleNorm
from core.ops.depthwise import silu_depthwise
from core.ops.dropout import dropout
from core.ops.recomputed import linear_of


class ConvFeedForward(Mixer):
    """norm, linear layer, SiLU, x + depthwise convolution, dropout.

    Args:
        dim: width of the frames.
        out: width of the result; dim by default.
        kernel: frames the convolution reaches over; its middle is the frame itself.
        norm: builds the normalisation from dim.
        causal: the kernel ends at the frame itself.
        dropout: rate of the result.
    """

    def __init__(
        self,
        dim: int,
        out: int | None = None,
        *,
        kernel: int = 17,
        norm: Callable[[int], ScaleNorm | FoldedLayerNorm] = ScaleNorm,
        causal: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        out = out or dim
        self.causal = causal
        self.dropout = dropout
        self.norm = norm(dim)
        self.linear = nn.Linear(dim, out)
        # Drawn as torch draws a convolution's: uniform within 1 / sqrt(kernel).
        self.conv = nn.Parameter(nn.Conv1d(out, out, kernel, groups=out, bias=False).weight.detach())

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim) -> (B, T, out)."""
        return zero_padding(expand(zero_padding(x, mask), [self], mask), mask)


def expand(
    x: Tensor | Callable[..., Tensor],
    layers: Sequence[ConvFeedForward],
    mask: Tensor | None = None,
    inputs: Sequence[Tensor] = (),
) -> Tensor:
    """The results of several layers side by side (B, T, sum of out); padding becomes what it may.

    The layers share kernel size, kind and eps of the norm, causality and rate of dropout.

    Args:
        x: frames (B, T, dim), finite in the padding, or a function that makes them from the inputs and is called again
            in the backward pass.
        layers: what is applied.
        mask: real frames.
        inputs: of the function, all that it needs a gradient for.
    """
    first = layers[0]
    folded = [layer.norm.folded(layer.linear.weight, layer.linear.bias) for layer in layers]
    weight, bias = (torch.cat(parts) if len(layers) > 1 else parts[0] for parts in zip(*folded, strict=True))
    kernel = torch.cat([layer.conv for layer in layers]) if len(layers) > 1 else first.conv
    if isinstance(x, Tensor):
        hidden = F.linear(first.norm.normalised(x), weight, bias)
    else:
        make = x
        hidden = linear_of(lambda *given: first.norm.normalised(make(*given)), weight, bias, *inputs)
    # What padding would give to the convolution is not 0, because of the bias.
    hidden = zero_padding(hidden, mask)
    return dropout(silu_depthwise(hidden, kernel, causal=first.causal, overwrite=True), first.dropout, first.training)
