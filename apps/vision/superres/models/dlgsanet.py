"""DLGSANet (Li et al. 2023): local attention by kernels made a pixel, global attention between channels, no softmax.

    local    x + W_1 D(W_0 LN x), then the gated feed-forward;   D: `core.mixers.DynamicFilter`
    global   x + attention between channels with ReLU for weights, then the same; `core.mixers.ChannelAttention`
    body     groups of [blocks x (local, global), conv] + their input, conv, + what enters

Channels a group of D is `group_width` (the release calls it heads), so that wider networks have more groups.

Decided: evaluation in windows of the training size, which the release does for single images only, works for batches
and any size. The release's softmax layers have windows of 48 whatever is asked for; here a window is a layer's own
argument, and the mapping of the goldens asks for 48. Everything is channels-last: norms and depthwise convolutions
are several times faster so, and only the filter itself reads planes.
"""

__all__ = [
    "DLGSANet",
    "GatedDepthwiseMLP",
    "Projected",
    "dlgsanet_large",
    "dlgsanet_light",
    "dlgsanet_tiny",
    "dynamic_layer",
    "sparse_layer",
]

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.superres.models.shell import DirectUpsampler, Shell, TokenConv
from core.blocks import Block
from core.mixers import ChannelAttention, DynamicFilter
from core.mixers.convolution import DepthwiseConv

# Windows of evaluation: what the published networks saw in training, in pixels of the small image.
_WINDOWS = {2: 96, 3: 72, 4: 48}


class GatedDepthwiseMLP(nn.Module):
    """W_2 (GELU(a) * b), [a, b] = depthwise 3 x 3 of W_1 x; on tokens (B, H, W, dim) (Restormer's GDFN).

    Args:
        dim: width of the tokens.
        hidden: width of a and of b.
        bias: whether the layers have one.
    """

    def __init__(self, dim: int, hidden: int, *, bias: bool = False) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, 2 * hidden, bias=bias)
        self.near = DepthwiseConv(2 * hidden, bias=bias)
        self.leave = nn.Linear(hidden, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.near(self.enter(x)).chunk(2, dim=-1)
        return self.leave(F.gelu(a) * b)


class Projected(nn.Module):
    """W_1 f(W_0 x), both without bias.

    Args:
        dim: width of the tokens.
        inner: f, on tokens (B, H, W, dim).
    """

    def __init__(self, dim: int, inner: nn.Module) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, dim, bias=False)
        self.inner = inner
        self.leave = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.inner(self.enter(x)))


def dynamic_layer(dim: int, group_width: int = 6, kernel: int = 7, expansion: float = 2.0) -> Block:
    """The published local layer: filters made a pixel, then the gated feed-forward."""
    mixer = Projected(dim, DynamicFilter(dim, dim // group_width, kernel=kernel))
    return Block(dim, mixer, GatedDepthwiseMLP(dim, int(dim * expansion)))


def sparse_layer(dim: int, heads: int = 6, window: int | None = None, expansion: float = 2.0) -> Block:
    """The published global layer; `window` is the size of the windows in evaluation."""
    mixer = ChannelAttention(dim, heads, weighting=nn.ReLU, window=window)
    return Block(dim, mixer, GatedDepthwiseMLP(dim, int(dim * expansion)))


class _Group(nn.Module):
    """Layers, a convolution, and the input added."""

    def __init__(self, dim: int, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.conv = TokenConv(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        # The first convolution gives planes, and what is added to them would stay so: then every norm makes a copy.
        x = x.contiguous()
        return x + self.conv(self.layers(x))


class DLGSANet(Shell):
    """(B, channels, H, W) in [0, 1] -> (B, channels, scale H, scale W).

    Args:
        scale: factor of the size.
        channels: of the image.
        dim: width of the tokens.
        groups: number of groups.
        blocks: of each kind of layer, one after the other, a group.
        layers: makes the layers of a block, in their order, each from the width.
        make_upsampler: makes the end of the network from width, channels and scale.
        body_norm: a LayerNorm before the first and after the last group.
        value_range: of the values inside.
    """

    def __init__(
        self,
        scale: int,
        *,
        channels: int = 3,
        dim: int = 48,
        groups: int = 3,
        blocks: int = 3,
        layers: Sequence[Callable[[int], nn.Module]] = (dynamic_layer, sparse_layer),
        make_upsampler: Callable[[int, int, int], nn.Module] = DirectUpsampler,
        body_norm: bool = False,
        value_range: float = 1.0,
    ) -> None:
        body: list[nn.Module] = [
            _Group(dim, [make(dim) for _ in range(blocks) for make in layers]) for _ in range(groups)
        ]
        if body_norm:
            body = [nn.LayerNorm(dim), *body, nn.LayerNorm(dim)]
        super().__init__(
            nn.Sequential(*body),
            make_upsampler(dim, channels, scale),
            channels=channels,
            dim=dim,
            join=TokenConv(dim, dim, 3, padding=1),
            value_range=value_range,
        )
        self.enter = TokenConv(channels, dim, 3, padding=1, bias=False)
        for module in self.body.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()  # as the release: torch's defaults everywhere


def dlgsanet_tiny(scale: int) -> DLGSANet:
    """48 channels, 3 groups of 3 blocks."""
    return _published(scale, 48, 3, 3)


def dlgsanet_light(scale: int) -> DLGSANet:
    """48 channels, 4 groups of 3 blocks."""
    return _published(scale, 48, 4, 3)


def dlgsanet_large(scale: int) -> DLGSANet:
    """90 channels, 6 groups of 4 blocks."""
    return _published(scale, 90, 6, 4)


def _published(scale: int, dim: int, groups: int, blocks: int) -> DLGSANet:
    layers = (dynamic_layer, partial(sparse_layer, window=_WINDOWS.get(scale, 48)))
    return DLGSANet(scale, dim=dim, groups=groups, blocks=blocks, layers=layers)
