"""Multi-scale self-guided attention for medical images (Sinha & Dolz 2019, arXiv 1906.02849), the release's DAF_stack.

    levels     every map of a ResNeXt to 64 channels at the finest size: d_1 .. d_4; fused f = convs of all four
    guided     a_s = W (position(z) + channel(z)) * conv(reconstruction(z)),  z = [d_s, f]; then once more with
               z = [d_s, a_s f], whose result is predicted from; the mean over s is the prediction
    position   x + g softmax(q k^T) v, q and k an eighth as wide, no scale, g from 0
    channel    x + g softmax(max - X X^T) X over channels: those that are alike count less
    guide      an encoder and decoder of z, shared by the four levels; the bottlenecks of the two passes are pulled
               together, and its output to its input
    loss       cross entropies of d_s and of all results + .25 sum MSE(bottlenecks) + .1 sum MSE(z, reconstruction)

Shapes: (B, channels, H, W) -> (B, classes, H, W); in training the eight predictions, of which seven are `others`, and
in `aux` the two kinds of squared errors.  Any size: the guide's maps are filled up to multiples of 4 with zeros.
Layers of the release that its forward never uses are not here.
"""

__all__ = ["ChannelAttention", "Guide", "PositionAttention", "SelfGuided"]

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import ResNet, resnext101_32x8d

from apps.vision.segmentation.models.layers import resize
from apps.vision.segmentation.models.segmenter import Logits, Segmenter
from core.ops.attend import attend

LEVELS = 4
BOTTLENECK, RECONSTRUCTION = 0.25, 0.1


def conv_act(channels: int, width: int, kernel: int) -> nn.Sequential:
    """With BatchNorm and one slope for all channels."""
    return nn.Sequential(nn.Conv2d(channels, width, kernel, padding=kernel // 2), nn.BatchNorm2d(width), nn.PReLU())


class PositionAttention(nn.Module):
    """x + g softmax(q k^T) v over all places.

    Args:
        dim: width.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Conv2d(dim, dim // 8, 1), nn.Conv2d(dim, dim // 8, 1), nn.Conv2d(dim, dim, 1)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> the same."""
        q, k, v = (layer(x).flatten(2).mT[:, None] for layer in (self.q, self.k, self.v))
        y = attend(q, k, v, scale=1.0)[:, 0].mT
        return x + self.gain * y.unflatten(2, x.shape[2:])


class ChannelAttention(nn.Module):
    """x + g softmax(max - X X^T) X over all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        rows = x.flatten(2)
        energy = rows @ rows.mT
        # The largest of a row is added to all of it, which softmax does not see but for rounding.
        weights = (energy.amax(-1, keepdim=True) - energy).softmax(-1)
        return x + self.gain * (weights @ rows).view_as(x)


def attended(dim: int, inner: nn.Module) -> nn.Sequential:
    """Convolutions around an attention, from twice as many channels."""
    return nn.Sequential(conv_act(2 * dim, dim, 3), inner, conv_act(dim, dim, 3))


def _twice(channels: int, width: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for wide in (channels, width):
        layers += [nn.Conv2d(wide, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return layers


class Guide(nn.Module):
    """Encoder and decoder of a map.

    Args:
        dim: its width.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            nn.Sequential(*_twice(dim, 2 * dim), nn.MaxPool2d(2)),
            nn.Sequential(*_twice(2 * dim, 4 * dim), nn.MaxPool2d(2)),
        )
        self.decode = nn.Sequential(
            nn.Sequential(*_twice(4 * dim, 2 * dim), nn.ConvTranspose2d(2 * dim, 2 * dim, 2, 2)),
            nn.Sequential(*_twice(2 * dim, dim), nn.ConvTranspose2d(dim, dim, 2, 2)),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, dim, H, W) -> bottleneck (B, 4 dim, ceil(H / 4), ceil(W / 4)) and reconstruction (B, dim, H, W)."""
        height, width = x.shape[2:]
        code = self.encode(F.pad(x, (0, -width % 4, 0, -height % 4)))
        return code, self.decode(code)[..., :height, :width]


class Pass(nn.Module):
    """One pass over the levels: attention of each, guided by what they share.

    Args:
        dim: width of the levels.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.guide = Guide(2 * dim)
        self.position = nn.ModuleList(attended(dim, PositionAttention(dim)) for _ in range(LEVELS))
        self.channel = nn.ModuleList(attended(dim, ChannelAttention()) for _ in range(LEVELS))
        self.shape = nn.ModuleList(nn.Conv2d(2 * dim, dim, 3, padding=1) for _ in range(LEVELS))
        self.out = nn.ModuleList(nn.Conv2d(dim, dim, 1) for _ in range(LEVELS))

    def forward(self, level: int, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 2 dim, H, W) -> attention (B, dim, H, W), bottleneck and reconstruction of z."""
        code, again = self.guide(z)
        y = (self.position[level](z) + self.channel[level](z)) * self.shape[level](again)
        return self.out[level](y), code, again


class SelfGuided(Segmenter):
    """The whole network.

    Args:
        classes: numbers that are predicted for a pixel.
        channels: of the image; the release's are gray.
        encoder: makes the ResNet, whose first and last layers are replaced and dropped.
        dim: width of the levels.

    Attributes:
        aux: the squared errors of the guides after a step of training.
    """

    def __init__(
        self, classes: int, channels: int = 3, encoder: Callable[[], ResNet] = resnext101_32x8d, dim: int = 64
    ) -> None:
        super().__init__()
        self.aux: Tensor | None = None
        resnet = encoder()
        self.stem = nn.Sequential(nn.Conv2d(channels, 64, 7, 2, 3, bias=False), resnet.bn1, resnet.relu, resnet.maxpool)
        self.layers = nn.ModuleList([resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4])
        last = resnet.fc.in_features
        self.enter = nn.ModuleList(conv_act(last >> (LEVELS - 1 - n), dim, 1) for n in range(LEVELS))
        self.fuse = nn.Sequential(conv_act(LEVELS * dim, dim, 3), conv_act(dim, dim, 3), conv_act(dim, dim, 1))
        self.passes = nn.ModuleList(Pass(dim) for _ in range(2))
        self.early = nn.ModuleList(nn.Conv2d(dim, classes, 1) for _ in range(LEVELS))
        self.late = nn.ModuleList(nn.Conv2d(dim, classes, 1) for _ in range(LEVELS))

    def forward(self, x: Tensor) -> Logits:
        """(B, channels, H, W) -> logits at the size of the image."""
        early, late, errors = self.steps(x)
        self.aux = BOTTLENECK * errors[0] + RECONSTRUCTION * errors[1] if self.training else None
        if not self.training:
            return Logits(torch.stack(late).mean(0))
        return Logits(late[0], (*late[1:], *early))

    def steps(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], tuple[Tensor, Tensor]]:
        """Predictions of the levels and of the guided levels, fine to coarse, and the sums of squared errors."""
        size = (x.shape[-2], x.shape[-1])
        levels, y = [], self.stem(x)
        for layer, enter in zip(self.layers, self.enter, strict=True):
            y = layer(y)
            levels.append(resize(enter(y), levels[0] if levels else y))
        fused = self.fuse(torch.cat(levels[::-1], 1))
        first, second = self.passes
        early, late = [], []
        bottleneck, reconstruction = x.new_zeros(()), x.new_zeros(())
        for n, level in enumerate(levels):
            z = torch.cat([level, fused], 1)
            attention, code, again = first(n, z)
            guided = torch.cat([level, attention * fused], 1)
            refined, other, once_more = second(n, guided)
            bottleneck = bottleneck + F.mse_loss(code, other)
            reconstruction = reconstruction + F.mse_loss(z, again) + F.mse_loss(guided, once_more)
            early.append(resize(self.early[n](level), size))
            late.append(resize(self.late[n](refined), size))
        return early, late, (bottleneck, reconstruction)
