"""InterFormer's encoder: the vision transformer of masked autoencoders (He et al. 2022, arXiv 2111.06377) with layer
scale and a relative bias (BEiT's), and a pyramid from its last map alone (Li et al. 2022, arXiv 2203.16527).

    block    y = x + g1 attention(LN(x)),   y + g2 MLP(LN(y)),   scores + table[p_q - p_k]
    pyramid  x4, x2 by transposed convolutions of 2 x 2, x1, x1/2 by one of stride 2; then 1x1; GroupNorm behind each

A token of the class goes in front; its three scores (to all, of all, to itself) have rows of their own in the table.
Tables belong to maps of `image` pixels; on other maps each place reads that of the nearest one in the table.

Shapes: image (B, 3, H, W) -> (B, H / 4, W / 4, C), ... / 8, / 16, / 32, rounded up; borders are filled up with zeros.

Decided differently: a map that has as many tokens as the tables' but another shape reads them by place like any other;
the release reads them by number there (`official`).
"""

__all__ = ["MAEPyramid", "RelativeBlock", "RelativeTable2d", "SimplePyramid"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from apps.vision.backbones.base import init_linears
from apps.vision.backbones.parts import layer_norm
from core.blocks import PreNorm
from core.channels import MLP
from core.ops.attend import attend
from core.resample import PatchEmbed


class RelativeTable2d(nn.Module):
    """A number a head for each difference of places, and three for the token in front.

    Args:
        heads: number of heads.
        grid: sizes of the map that the table belongs to.
    """

    def __init__(self, heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        height, width = grid
        self.table = nn.Parameter(torch.zeros((2 * height - 1) * (2 * width - 1) + 3, heads))

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (N, N) of the table -> what is added to the scores, (heads, N, N)."""
        return self.table.index_select(0, rows.flatten()).view(*rows.shape, -1).movedim(-1, 0)

    def rows(self, size: tuple[int, int], device: torch.device) -> Tensor:
        """Rows (1 + h w, 1 + h w) of the pairs on a map, the token in front included."""
        height, width = self.grid
        y, x = (torch.arange(n, device=device) * own // n for n, own in zip(size, self.grid, strict=True))
        y, x = (t.flatten() for t in torch.meshgrid(y, x, indexing="ij"))
        down, right = (t[:, None] - t + n - 1 for t, n in ((y, height), (x, width)))
        rows = torch.empty(len(y) + 1, len(y) + 1, dtype=torch.long, device=device)
        rows[1:, 1:] = down * (2 * width - 1) + right
        last = len(self.table)
        rows[0], rows[:, 0], rows[0, 0] = last - 3, last - 2, last - 1
        return rows


class RelativeAttention(nn.Module):
    """Softmax attention over all tokens with a table.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        grid: sizes of the map that the table belongs to.
    """

    def __init__(self, dim: int, heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.bias = RelativeTable2d(heads, grid)

    def forward(self, x: Tensor, rows: Tensor) -> Tensor:
        """(B, N, dim), rows of the table (N, N) -> (B, N, dim)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(attend(q, k, v, bias=self.bias(rows)).transpose(1, 2).flatten(2))


class RelativeBlock(nn.Module):
    """Attention and MLP.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        grid: sizes of the map that the table belongs to.
        mlp_ratio: width of the MLP's hidden layer over dim.
        drop_path: share of samples whose branch is left out.
        layer_scale: first value of both.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        grid: tuple[int, int],
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        layer_scale: float = 1.0,
    ) -> None:
        super().__init__()
        attention, mlp = RelativeAttention(dim, heads, grid), MLP(dim, int(dim * mlp_ratio))
        self.mix = PreNorm(dim, attention, norm=layer_norm, layer_scale=layer_scale, drop_path=drop_path)
        self.feed = PreNorm(dim, mlp, norm=layer_norm, layer_scale=layer_scale, drop_path=drop_path)

    def forward(self, x: Tensor, rows: Tensor) -> Tensor:
        """(B, N, dim), rows of the table (N, N) -> (B, N, dim)."""
        return self.feed(self.mix.around(x, lambda t: self.mix.inner(t, rows)))


class SimplePyramid(nn.Module):
    """Four maps of one.

    Args:
        dim: width of the map.
        channels: widths of the maps of 4, 2, 1 and 1/2 times its size.
    """

    def __init__(self, dim: int, channels: Sequence[int]) -> None:
        super().__init__()
        four, two, one, half = channels
        first = max(dim // 2, 2 * four)
        self.four = nn.Sequential(
            *_doubled(dim, first), nn.GELU(), *_doubled(first, first // 2), *_entered(first // 2, four)
        )
        first = max(dim // 2, two)
        self.two = nn.Sequential(*_doubled(dim, first), *_entered(first, two))
        self.one = nn.Sequential(*_entered(dim, one))
        first = max(2 * dim, half)
        self.halve = PatchEmbed(dim, first, (2, 2))
        self.below = nn.Sequential(nn.GroupNorm(1, first), *_entered(first, half))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, h, w, dim) -> (B, 4 h, 4 w, C), ... (B, ceil(h / 2), ceil(w / 2), C)."""
        view = x.movedim(-1, 1)
        maps = [self.four(view), self.two(view), self.one(view), self.below(self.halve(x).tokens.movedim(-1, 1))]
        return [y.movedim(1, -1) for y in maps]


def _doubled(dim: int, out: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(dim, out, 2, 2), nn.GroupNorm(1, out)]


def _entered(dim: int, out: int) -> list[nn.Module]:
    return [nn.Conv2d(dim, out, 1), nn.GroupNorm(1, out), nn.GELU()]


class MAEPyramid(nn.Module):
    """The encoder and its pyramid.

    Args:
        dim: width of the tokens.
        depth: blocks.
        heads: of the attention.
        channels: widths of the pyramid's maps, fine to coarse.
        image: size of the images that the tables belong to, in pixels.
        patch: side of a patch, in pixels.
        drop_path: share of samples whose branch is left out in the last block, rising evenly from 0.
        layer_scale: first value of the layer scales.
        official: tables are read by number on maps of as many tokens as theirs.

    Attributes:
        channels: width of each level.
        strides: pixels that one token of a level stands for, an axis.
    """

    def __init__(
        self,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        channels: Sequence[int] = (32, 64, 128, 256),
        image: tuple[int, int] = (512, 512),
        patch: int = 16,
        drop_path: float = 0.1,
        layer_scale: float = 1.0,
        *,
        official: bool = False,
    ) -> None:
        super().__init__()
        self.official = official
        self.channels, self.strides = list(channels), [patch // 4, patch // 2, patch, 2 * patch]
        self.grid = (image[0] // patch, image[1] // patch)
        self.embed = PatchEmbed(3, dim, (patch, patch))
        self.front = nn.Parameter(torch.zeros(dim))
        self.front_position = nn.Parameter(torch.zeros(dim))
        self.position = nn.Parameter(torch.zeros(*self.grid, dim))
        shares = torch.linspace(0, drop_path, depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(
            RelativeBlock(dim, heads, self.grid, drop_path=share, layer_scale=layer_scale) for share in shares
        )
        self.pyramid = SimplePyramid(dim, channels)
        init_linears(self)
        for part in (self.front, self.position):
            nn.init.trunc_normal_(part, std=0.02)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> feature maps (B, h, w, C), fine to coarse."""
        x = self.embed(x.movedim(1, -1)).tokens
        size = (x.shape[1], x.shape[2])
        read = self.grid if self.official and size[0] * size[1] == self.grid[0] * self.grid[1] else size
        y, z = (torch.arange(n, device=x.device) * own // n for n, own in zip(read, self.grid, strict=True))
        x = x.flatten(1, 2) + self.position[y][:, z].flatten(0, 1)
        front = (self.front + self.front_position).expand(len(x), 1, -1)
        x = torch.cat([front, x], 1)
        rows = self.blocks[0].mix.inner.bias.rows(read, x.device)  # type: ignore[union-attr, operator]
        for block in self.blocks:
            x = block(x, rows)
        return self.pyramid(x[:, 1:].unflatten(1, size))
