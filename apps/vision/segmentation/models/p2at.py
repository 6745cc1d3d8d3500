"""P2AT (Elhassan et al. 2023, "Pyramid pooling axial transformer for efficient semantic segmentation", arXiv
2310.15025): a ResNet whose coarsest map is mixed by attention along pooled rows and columns, then fused upwards.

    deepest map   1x1 to 64; twice  x += P2A2(x);  x += W dw3x3(W x)                (no norm)
    P2A2(x)       z = 1x1 of [pyramid of cascaded means of x] . x's own; q, k, v = 1x1 of z; attention over the means of
                  the rows, and over those of the columns, with learnt positions stretched to the size;
                  W(v + rows + columns) . details(x)
    fusion        d, s, u = the finer map, a middle one and the decoded one: BN W [d, u, s] + s u + sigmoid(s d)
    context       x + W relu(W mean(x) + b)
    decoder       x + gamma W hardswish(W dw(x)), kernels 3, 5, 7 coarse to fine

Shapes: image (B, 3, H, W) -> (B, classes, H, W), in training also logits of the two fusions.  Width 64; sizes S, M, L
are ResNet-18, 34, 50.

Decided differently: the pyramid holds the three cascaded means and every group of its grouped convolution sees one
channel of each; the release takes the first mean twice and the third, and its groups see three neighbouring channels
of one mean (`official` brings that back, for its checkpoints).  Convolutions over a map of one pixel are matrices here,
and what is the same for all pixels is computed once.  As in the release, inner resizes leave corners loose and those
of the logits align them.
"""

__all__ = ["P2AT", "p2at_large", "p2at_medium", "p2at_small"]

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import ResNet, resnet18, resnet34, resnet50

from apps.vision.segmentation.models.layers import ConvNorm, resize
from apps.vision.segmentation.models.segmenter import Logits, Segmenter
from core.ops.attend import attend


def conv_act(channels: int, width: int, kernel: int = 1, groups: int = 1) -> ConvNorm:
    """With BatchNorm and PReLU, which most of the network has."""
    return ConvNorm(channels, width, kernel, nn.PReLU, groups)


def linear(channels: int, width: int, bias: bool = False) -> nn.Conv2d:
    """Of every pixel."""
    return nn.Conv2d(channels, width, 1, bias=bias)


class PooledPyramid(nn.Module):
    """c . conv([mean_3 c, mean_5 of that, mean_7 of that]), c = 1x1 of x.

    Args:
        dim: width.
        official: the first mean twice, and groups of neighbouring channels of one mean.
    """

    def __init__(self, dim: int, official: bool = False) -> None:
        super().__init__()
        self.official = official
        self.enter, self.conv = conv_act(dim, dim), conv_act(3 * dim, dim, 3, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> the same."""
        c = self.enter(x)
        first = F.avg_pool2d(c, 3, 1, 1)
        second = F.avg_pool2d(first, 5, 1, 2)
        third = F.avg_pool2d(second, 7, 1, 3)
        parts = torch.cat([first, first, third], 1) if self.official else torch.stack([first, second, third], 2)
        return self.conv(parts if self.official else parts.flatten(1, 2)) * c


class AxialMeans(nn.Module):
    """Attention over the means of rows, or of columns.

    Args:
        dim: of q and k, all heads.
        heads: number of them.
        value_dim: of v, all heads.
        length: of the table of positions, which is stretched to the size of the map.
        out: what the result goes through.
    """

    def __init__(self, dim: int, heads: int, value_dim: int, length: int, out: nn.Module) -> None:
        super().__init__()
        self.heads = heads
        self.q_position, self.k_position = (nn.Parameter(torch.randn(dim, length) * 0.02) for _ in range(2))
        self.out = out

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, dim, L) each, v (B, value_dim, L) -> (B, value_dim, L, 1)."""
        positions = torch.stack([self.q_position, self.k_position])
        q_position, k_position = F.interpolate(positions, q.shape[-1], mode="linear", align_corners=False)
        q, k, v = (x.unflatten(1, (self.heads, -1)).mT for x in (q + q_position, k + k_position, v))
        return self.out(attend(q, k, v).mT.flatten(1, 2)[..., None])


class P2A2(nn.Module):
    """Pyramid pooling axial attention.

    Args:
        dim: width.
        key_dim: of a head.
        heads: number of them.
        ratio: width of v over that of k.
        length: of the tables of positions.
        official: the release's pyramid.
    """

    def __init__(
        self, dim: int, key_dim: int, heads: int, ratio: float = 2.0, length: int = 16, official: bool = False
    ) -> None:
        super().__init__()
        wide = int(ratio * key_dim) * heads
        self.q, self.k, self.v = linear(dim, key_dim * heads), linear(dim, key_dim * heads), linear(dim, wide)
        self.rows = AxialMeans(key_dim * heads, heads, wide, length, conv_act(wide, wide))
        self.columns = AxialMeans(key_dim * heads, heads, wide, length, linear(wide, wide))
        self.proj = conv_act(wide, dim)
        self.pyramid = PooledPyramid(dim, official)
        self.enter, self.details = ConvNorm(dim, dim, act=None), ConvNorm(dim, dim, 3, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> the same."""
        details = self.enter(x)
        details = self.details(details) + details
        z = self.pyramid(x)
        parts = self.q(z), self.k(z), self.v(z)
        rows = self.rows(*(part.mean(-1) for part in parts))
        columns = self.columns(*(part.mean(-2) for part in parts)).mT
        return self.proj(parts[2] + rows + columns) * details


class PlainBlock(nn.Module):
    """x += P2A2(x); x += W relu(dw3x3(W x)); the arguments are those of `P2A2`."""

    def __init__(
        self, dim: int, key_dim: int, heads: int, ratio: float = 2.0, length: int = 16, official: bool = False
    ) -> None:
        super().__init__()
        self.attention = P2A2(dim, key_dim, heads, ratio, length, official)
        self.fc1, self.fc2 = linear(dim, 4 * dim), linear(4 * dim, dim)
        self.depthwise = nn.Conv2d(4 * dim, 4 * dim, 3, padding=1, groups=4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> the same."""
        x = x + self.attention(x)
        return x + self.fc2(F.relu(self.depthwise(self.fc1(x))))


class LocalRefinement(nn.Module):
    """W (W_g mean(a) + sigmoid(W_l a)), a = 1x1 of x; the first term at one pixel.

    Args:
        channels, dim: of x and of the result.
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.enter = conv_act(channels, dim)
        self.far, self.near, self.out = (linear(dim, dim) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, dim, H, W)."""
        a = self.enter(x)
        return self.out(self.near(a).sigmoid()) + self.out(self.far(a.mean((2, 3), keepdim=True)))


class Fusion(nn.Module):
    """A finer map d, a middle one s and a decoded one u, at the size of d.

    Args:
        fine, middle, decoded: their channels.
        dim: of the result.
    """

    def __init__(self, fine: int, middle: int, decoded: int, dim: int) -> None:
        super().__init__()
        self.fine = LocalRefinement(fine, dim)
        self.decoded, self.gate = conv_act(decoded, dim), linear(decoded, dim, bias=True)
        self.middle, self.fuse = ConvNorm(middle, dim, act=None), ConvNorm(3 * dim, dim, act=None)

    def forward(self, fine: Tensor, middle: Tensor, decoded: Tensor) -> Tensor:
        """(B, dim, H, W) at the size of `fine`."""
        d = self.fine(fine)
        s = resize(self.middle(middle), d)
        u = resize(self.decoded(decoded) * self.gate(decoded).softmax(1), d)
        return self.fuse(torch.cat([d, u, s], 1)) + s * u + (s * d).sigmoid()


class GlobalContext(nn.Module):
    """x + act(norm(W_2 (g W_1 mean(x) + b))).

    Args:
        dim: width.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first, self.second = linear(dim, dim), conv_act(dim, dim)
        self.scale, self.shift = nn.Parameter(torch.ones(dim, 1, 1)), nn.Parameter(torch.zeros(dim, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> the same."""
        return x + self.second(self.first(x.mean((2, 3), keepdim=True)) * self.scale + self.shift)


class Decoder(nn.Module):
    """x + gamma W hardswish(W norm(dw(x))).

    Args:
        dim: width.
        kernel: of the depthwise convolution.
    """

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim), nn.BatchNorm2d(dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> the same."""
        y = self.norm(self.depthwise(x)).movedim(1, -1)
        return x + (self.gamma * self.fc2(F.hardswish(self.fc1(y)))).movedim(-1, 1)


class PixelHead(nn.Module):
    """W relu(norm(3x3 relu(norm(x)))).

    Args:
        channels, dim: of x and inside.
        classes: numbers that are predicted.
    """

    def __init__(self, channels: int, dim: int, classes: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(dim)
        self.conv = nn.Conv2d(channels, dim, 3, padding=1, bias=False)
        self.out = linear(dim, classes, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, classes, H, W)."""
        return self.out(F.relu(self.norm2(self.conv(F.relu(self.norm1(x))))))


class P2AT(Segmenter):
    """The whole network.

    Args:
        classes: numbers that are predicted for a pixel.
        encoder: makes the ResNet, whose last layer is dropped.
        dim: width of all behind it.
        length: of the tables of positions.
        helpers: whether there are heads on the two fusions, for training.
        official: the release's pyramid of means.
    """

    def __init__(
        self,
        classes: int,
        encoder: Callable[[], ResNet] = resnet18,
        dim: int = 64,
        length: int = 16,
        helpers: bool = True,
        official: bool = False,
    ) -> None:
        super().__init__()
        resnet = encoder()
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        self.layers = nn.ModuleList([resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4])
        last = resnet.fc.in_features
        one, two, three = last // 8, last // 4, last // 2
        self.reduce = conv_act(last, dim)
        self.blocks = nn.Sequential(*(PlainBlock(dim, 16, 8, 2.0, length, official) for _ in range(2)))
        self.decoders = nn.ModuleList(Decoder(dim, kernel) for kernel in (3, 5, 7))
        self.fusions = nn.ModuleList([Fusion(two, three, dim, dim), Fusion(one, two, dim, dim)])
        self.contexts = nn.ModuleList(GlobalContext(dim) for _ in range(2))
        self.refine = nn.ModuleList(conv_act(dim, dim, 3) for _ in range(3))
        self.fuse = nn.ModuleList(conv_act(2 * dim, dim, 3) for _ in range(2))
        self.head = PixelHead(dim, dim, classes)
        self.helpers = nn.ModuleList(PixelHead(dim, dim, classes) for _ in range(2 if helpers else 0))

    def forward(self, x: Tensor) -> Logits:
        """(B, 3, H, W) -> logits at the size of the image."""
        size = (x.shape[-2], x.shape[-1])
        features, y = [], self.stem(x)
        for layer in self.layers:
            y = layer(y)
            features.append(y)
        one, two, three, four = features
        coarse = self.decoders[0](self.blocks(self.reduce(four)))
        first = self.fusions[0](two, three, coarse)
        middle = self.decoders[1](self.contexts[0](first))
        second = self.fusions[1](one, two, middle)
        fine = self.refine[2](self.decoders[2](self.contexts[1](second)))
        fine = self.refine[1](self.fuse[0](torch.cat([resize(middle, fine), fine], 1)))
        fine = self.refine[0](self.fuse[1](torch.cat([resize(coarse, fine), fine], 1)))
        others: tuple[Tensor, ...] = ()
        if self.training and len(self.helpers):
            made = (helper(y) for helper, y in zip(self.helpers, (first, second), strict=True))
            others = tuple(resize(logits, size, align_corners=True) for logits in made)
        return Logits(resize(self.head(fine), size, align_corners=True), others)


def p2at_small(classes: int) -> P2AT:
    """P2AT-S: 12.7 M parameters with 11 classes, without the heads of training; 12.3 M of them have an effect."""
    return P2AT(classes, resnet18)


def p2at_medium(classes: int) -> P2AT:
    """P2AT-M: 22.8 M."""
    return P2AT(classes, resnet34)


def p2at_large(classes: int) -> P2AT:
    """P2AT-L: 25.3 M."""
    return P2AT(classes, resnet50)
