"""What restoration networks share around their body (SwinIR, HAT, DRCT, RGT; parts of it EDSR and DLGSANet).

    f0 = conv(range * (image - mean)),   f = join(body(f0)) + f0,   result = upsampler(f) / range + mean

The image is (B, channels, H, W) in [0, 1], everything inside is channels-last (B, H, W, dim); convolutions see the same
memory as `channels_last`, so nothing is copied between them and the attention.

Upsamplers by their names in the releases: `ShuffleUpsampler` pixelshuffle, `DirectUpsampler` pixelshuffledirect,
`NearestUpsampler` nearest+conv, `Refiner` none (denoising: no enlargement, the image is added).

Decided: the networks pad by themselves and cut off again, so any size from 1 x 1 works.  The releases mirror once
without the edge (HAT, DRCT) and fail on images smaller than that needs; here one mirrors as often as needed.
`symmetric_full` is the padding of SwinIR's test script, which always adds something.
"""

__all__ = [
    "DirectUpsampler",
    "NearestUpsampler",
    "Refiner",
    "Shell",
    "ShuffleUpsampler",
    "TokenConv",
    "Trunk",
    "ValueRange",
    "pixel_shuffle",
    "reflect",
    "symmetric_full",
]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Mean colour of DIV2K.
_MEAN = (0.4488, 0.4371, 0.4040)


class TokenConv(nn.Conv2d):
    """A convolution of tokens: (B, H, W, C) -> (B, H', W', C'), of the same parameters as `nn.Conv2d`."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ValueRange(nn.Module):
    """Values in [0, 1] to the range a network works in, and back.

    Args:
        channels: of the image; the mean colour is subtracted from three channels, nothing from others.
        value_range: factor of the values (1 or 255).
    """

    mean: Tensor

    def __init__(self, channels: int, value_range: float = 1.0) -> None:
        super().__init__()
        self.value_range = value_range
        mean = torch.tensor(_MEAN if channels == 3 else (0.0,) * channels).view(1, -1, 1, 1)
        # Computed from the constructor's arguments, so no checkpoint carries it.
        self.register_buffer("mean", mean, persistent=False)

    def enter(self, image: Tensor) -> Tensor:
        """Image in [0, 1] -> what the network sees."""
        return (image - self.mean.to(image.dtype)) * self.value_range

    def leave(self, image: Tensor) -> Tensor:
        """What the network gives -> image in [0, 1]."""
        return image / self.value_range + self.mean.to(image.dtype)


def pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    """(B, H, W, C factor^2) -> (B, factor H, factor W, C); channel order as in `nn.PixelShuffle`."""
    batch, height, width, _ = x.shape
    x = x.reshape(batch, height, width, -1, factor, factor).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, height * factor, width * factor, -1)


class ShuffleUpsampler(nn.Module):
    """conv + LeakyReLU, [conv, pixel shuffle] in steps of 2 (or one of 3), conv.

    Args:
        dim: width of the features.
        channels: of the image.
        scale: 3 or a power of 2; 1 does not enlarge.
        width: of the steps; 64 in all releases.

    Raises:
        ValueError: for another scale.
    """

    def __init__(self, dim: int, channels: int, scale: int, width: int = 64) -> None:
        super().__init__()
        if scale < 1 or (scale != 3 and scale & (scale - 1)):
            raise ValueError(f"ShuffleUpsampler: scale {scale}; give 3 or a power of 2")
        self.scale = scale
        self.factors = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
        self.enter = TokenConv(dim, width, 3, padding=1)
        self.steps = nn.ModuleList(TokenConv(width, width * f * f, 3, padding=1) for f in self.factors)
        self.leave = TokenConv(width, channels, 3, padding=1)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Features (B, H, W, dim) -> (B, scale H, scale W, channels); the normalised image is not read."""
        x = F.leaky_relu(self.enter(x), 0.01)
        for step, factor in zip(self.steps, self.factors, strict=True):
            x = pixel_shuffle(step(x), factor)
        return self.leave(x)


class DirectUpsampler(nn.Module):
    """One convolution and one pixel shuffle, for small networks.

    Args:
        dim: width of the features.
        channels: of the image.
        scale: any from 1.
        bias: whether the convolution has one.
    """

    def __init__(self, dim: int, channels: int, scale: int, *, bias: bool = True) -> None:
        super().__init__()
        self.scale = scale
        self.conv = TokenConv(dim, channels * scale * scale, 3, padding=1, bias=bias)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Features (B, H, W, dim) -> (B, scale H, scale W, channels); the normalised image is not read."""
        return pixel_shuffle(self.conv(x), self.scale)


class NearestUpsampler(nn.Module):
    """Nearest-neighbour enlargement with convolutions between, which makes no chequered patterns (real-world SwinIR).

    Args:
        dim: width of the features.
        channels: of the image.
        scale: a power of 2.
        width: of the steps.

    Raises:
        ValueError: for another scale; the release then enlarges by 2 whatever was asked for.
    """

    def __init__(self, dim: int, channels: int, scale: int, width: int = 64) -> None:
        super().__init__()
        if scale < 2 or scale & (scale - 1):
            raise ValueError(f"NearestUpsampler: scale {scale}; give a power of 2 from 2")
        self.scale = scale
        self.enter = TokenConv(dim, width, 3, padding=1)
        self.steps = nn.ModuleList(TokenConv(width, width, 3, padding=1) for _ in range(scale.bit_length() - 1))
        self.refine = TokenConv(width, width, 3, padding=1)
        self.leave = TokenConv(width, channels, 3, padding=1)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Features (B, H, W, dim) -> (B, scale H, scale W, channels); the normalised image is not read."""
        x = F.leaky_relu(self.enter(x), 0.01)
        for step in self.steps:
            x = x.repeat_interleave(2, 1).repeat_interleave(2, 2)
            x = F.leaky_relu(step(x), 0.2)
        return self.leave(F.leaky_relu(self.refine(x), 0.2))


class Refiner(nn.Module):
    """One convolution, added to the normalised image: denoising and artefacts, no enlargement.

    Args:
        dim: width of the features.
        channels: of the image.
        scale: 1.

    Raises:
        ValueError: for another scale.
    """

    def __init__(self, dim: int, channels: int, scale: int = 1) -> None:
        super().__init__()
        if scale != 1:
            raise ValueError(f"Refiner: scale {scale}; it does not enlarge, give 1 or another upsampler")
        self.scale = scale
        self.conv = TokenConv(dim, channels, 3, padding=1)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Features (B, H, W, dim) and the normalised image (B, H, W, channels) -> (B, H, W, channels)."""
        return image + self.conv(x)


def reflect(image: Tensor, multiple: int) -> Tensor:
    """Mirrored at the bottom and right, edge not repeated, up to the next multiple; as often as small images need."""
    for axis in (2, 3):
        length = image.shape[axis]
        if length % multiple:
            period = max(2 * (length - 1), 1)
            place = torch.arange(length + -length % multiple, device=image.device) % period
            image = image.index_select(axis, torch.where(place < length, place, period - place))
    return image


def symmetric_full(image: Tensor, multiple: int) -> Tensor:
    """Mirrored with the edge repeated up to the next LARGER multiple, as SwinIR's test script does."""
    for axis in (2, 3):
        length = image.shape[axis]
        place = torch.arange((length // multiple + 1) * multiple, device=image.device) % (2 * length)
        image = image.index_select(axis, torch.where(place < length, place, 2 * length - 1 - place))
    return image


class Trunk(nn.Module):
    """Norm, groups of blocks, norm: the body of the window transformers.

    Args:
        dim: width of the tokens.
        groups: each (B, H, W, dim) -> the same shape.
    """

    def __init__(self, dim: int, groups: Sequence[nn.Module]) -> None:
        super().__init__()
        self.enter: nn.Module = nn.LayerNorm(dim)
        self.groups = nn.ModuleList(groups)
        self.leave = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for group in self.groups:
            x = group(x)
        return self.leave(x)


class Shell(nn.Module):
    """A network from its parts; subclasses build the body.

    Args:
        body: tokens (B, H, W, dim) -> the same shape, H and W multiples of `multiple`.
        upsampler: features and normalised image -> enlarged image, with an attribute `scale`.
        channels: of the image.
        dim: width of the tokens.
        join: between the body and its residual: a convolution, or `nn.Identity()`.
        multiple: what H and W of the body's maps must be divisible by.
        value_range: factor of the values inside.
        pad: fills an image (B, C, H, W) up to multiples at the bottom and right.
    """

    def __init__(
        self,
        body: nn.Module,
        upsampler: nn.Module,
        *,
        channels: int,
        dim: int,
        join: nn.Module,
        multiple: int = 1,
        value_range: float = 1.0,
        pad: Callable[[Tensor, int], Tensor] = reflect,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.multiple = multiple
        self.pad = pad
        self.scale: int = upsampler.scale  # type: ignore[assignment]
        self.range = ValueRange(channels, value_range)
        self.enter = TokenConv(channels, dim, 3, padding=1)
        self.body = body
        self.join = join
        self.upsampler = upsampler

    def forward(self, image: Tensor) -> Tensor:
        """(B, channels, H, W) in [0, 1], any size -> (B, channels, scale H, scale W), not clamped.

        Raises:
            ValueError: where the image has another number of channels or no pixels.
        """
        if image.ndim != 4 or image.shape[1] != self.channels or not image.numel():
            raise ValueError(
                f"{type(self).__name__}: image of shape {tuple(image.shape)}; give (B, {self.channels}, H, W)"
            )
        height, width = image.shape[2:]
        x = self.range.enter(self.pad(image, self.multiple)).permute(0, 2, 3, 1)
        features = self.enter(x)
        features = self.join(self.body(features)) + features
        y = self.range.leave(self.upsampler(features, x).permute(0, 3, 1, 2))
        return y[:, :, : height * self.scale, : width * self.scale]
