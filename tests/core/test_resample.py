import pytest
import torch
from torch import nn
from torch.nn import functional as F

from core.blocks import Stack, blocks
from core.mixers import Pooling, WindowAttention
from core.pyramid import Pyramid, Stage
from core.resample import ConvEmbed, CrossScaleEmbed, PatchEmbed, PatchMap, PatchMerging


@pytest.mark.parametrize("grid, patch", [((7,), (3,)), ((5, 8), (2, 4)), ((3, 4, 5), (2, 2, 2)), ((1, 1), (4, 4))])
def test_patch_embedding_is_a_strided_convolution_of_the_filled_map(grid, patch):
    embed = PatchEmbed(3, 6, patch).double()
    x = torch.randn(2, *grid, 3, dtype=torch.float64)
    filled = F.pad(x, (0, 0, *[n for g, p in zip(grid[::-1], patch[::-1], strict=True) for n in (0, -g % p)]))
    convolve = (F.conv1d, F.conv2d, F.conv3d)[len(grid) - 1]
    expected = convolve(filled.movedim(-1, 1), embed.proj.weight, embed.proj.bias, patch).movedim(1, -1)
    out = embed(x)
    torch.testing.assert_close(out.tokens, expected)
    assert out.mask is None
    assert out.tokens.shape[1:-1] == tuple(-(-g // p) for g, p in zip(grid, patch, strict=True))


MODULES = [
    lambda: PatchEmbed(4, 6, (2, 3), norm=nn.LayerNorm),
    lambda: PatchMerging(4, 6, (2, 3)),
    lambda: ConvEmbed(4, 6, (3, 5), (2, 3)),
]


@pytest.mark.parametrize("make", MODULES)
def test_masks_are_carried_and_padding_does_not_matter(make):
    torch.manual_seed(0)
    module = make().double()
    x = torch.randn(2, 5, 7, 4, dtype=torch.float64)
    wide = torch.full((2, 8, 9, 4), torch.nan, dtype=torch.float64)
    wide[:, :5, :7] = x
    mask = torch.zeros(2, 8, 9, dtype=torch.bool)
    mask[:, :5, :7] = True
    small, big = module(x), module(wide, mask)
    assert torch.equal(big.mask, F.pad(torch.ones(2, 3, 3, dtype=torch.bool), (0, 0, 0, 1)))
    torch.testing.assert_close(big.tokens[:, :3, :3], small.tokens)


@pytest.mark.parametrize("make", MODULES)
def test_restoring_gives_every_token_its_coarse_one(make):
    out = make()(torch.randn(1, 5, 7, 4))
    back = out.map.restore(out.tokens)
    assert back.shape == (1, 5, 7, 6)
    for i, j in [(0, 0), (4, 6), (3, 2)]:
        assert torch.equal(back[:, i, j], out.tokens[:, i // 2, j // 3])


def test_merging_is_swins():
    merge = PatchMerging(2, 4)
    nn.init.normal_(merge.norm.weight)
    x = torch.randn(1, 4, 6, 2)
    parts = [x[:, a::2, b::2] for a, b in ((0, 0), (1, 0), (0, 1), (1, 1))]
    torch.testing.assert_close(merge(x).tokens, merge.reduction(merge.norm(torch.cat(parts, -1))))


@pytest.mark.parametrize("grid, patch", [((7,), (3,)), ((5, 7), (2, 3)), ((3, 4, 5), (2, 2, 2))])
def test_unfolding_undoes_the_cutting_into_patches(grid, patch):
    numbers = torch.arange(float(torch.tensor(grid).prod())).view(1, *grid, 1)
    sides = [n for g, p in zip(grid[::-1], patch[::-1], strict=True) for n in (0, -g % p)]
    filled = F.pad(numbers, (0, 0, *sides))
    rank = len(grid)
    for axis, size in enumerate(patch):
        filled = filled.unflatten(1 + 2 * axis, (-1, size))
    order = [0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1]
    patches = filled.permute(order).flatten(rank + 1)
    assert torch.equal(PatchMap(grid, patch).unfold(patches), numbers)


def test_overlapping_embedding_shrinks_to_the_ceiling():
    for size in (1, 4, 7, 8, 9):
        assert ConvEmbed(2, 3, (7, 7), (4, 4))(torch.randn(1, size, size, 2)).tokens.shape[1] == -(-size // 4)
    with pytest.raises(ValueError, match="odd kernels"):
        ConvEmbed(2, 3, (4, 4), (4, 4))
    with pytest.raises(ValueError, match="one patch size a grid axis"):
        PatchEmbed(2, 3, (4, 4))(torch.randn(1, 5, 2))


def pyramid():
    torch.manual_seed(0)
    first = Stage(
        8, 4, PatchEmbed(3, 8, (4, 4)), Stack(blocks(8, 1, lambda d: WindowAttention(d, 2, (3, 3), shift=(1, 1))))
    )
    second = Stage(16, 2, PatchMerging(8, 16), Stack(blocks(16, 1, lambda d: Pooling(d))), nn.LayerNorm(16))
    return Pyramid([first, second]).double()


@pytest.mark.parametrize("size", [(1, 1), (7, 31), (32, 32)])
def test_pyramid_gives_features_of_any_size(size):
    model = pyramid()
    features = model(torch.randn(2, *size, 3, dtype=torch.float64))
    assert model.channels == [8, 16]
    assert model.strides == [4, 8]
    for (x, mask), channels, stride in zip(features, model.channels, model.strides, strict=True):
        assert x.shape == (2, -(-size[0] // stride), -(-size[1] // stride), channels)
        assert mask is None


def test_pyramid_does_not_see_padding():
    model = pyramid()
    x = torch.randn(1, 9, 21, 3, dtype=torch.float64)
    wide = torch.full((1, 30, 40, 3), torch.nan, dtype=torch.float64)
    wide[:, :9, :21] = x
    mask = torch.zeros(1, 30, 40, dtype=torch.bool)
    mask[:, :9, :21] = True
    for (small, _), (big, real) in zip(model(x), model(wide, mask=mask), strict=True):
        height, width = small.shape[1:3]
        assert real.sum() == height * width
        torch.testing.assert_close(big[:, :height, :width], small)


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6, 7, 8])
def test_convolutions_with_fewer_zeros_in_front_keep_every_token(size):
    torch.manual_seed(0)
    embed = ConvEmbed(2, 3, (7, 7), (4, 4), before=(2, 2), bias=False)
    released = ConvEmbed(2, 3, (7, 7), (4, 4), before=(2, 2), bias=False, floor=True)
    released.load_state_dict(embed.state_dict())
    x = torch.randn(1, size, 8, 2)
    y, mask, _ = embed(x, torch.ones(1, size, 8, dtype=torch.bool))
    wide = torch.nn.functional.pad(x, (0, 0, 0, 0, 0, -size % 4))
    assert y.shape == (1, -(-size // 4), 2, 3) and mask.shape == y.shape[:3] and mask.all()
    torch.testing.assert_close(y, embed(wide).tokens)
    if size % 4 in (0, 3):
        torch.testing.assert_close(y, released(x).tokens)
    elif size > 4:
        assert released(x, torch.ones(1, size, 8, dtype=torch.bool)).mask.shape == (1, size // 4, 2)


def test_patches_of_several_sizes_share_their_centres():
    torch.manual_seed(0)
    embed = CrossScaleEmbed(3, 16, (4, 8, 16, 32), 4).double()
    assert [proj.out_channels for proj in embed.projs] == [8, 4, 2, 2]
    x = torch.randn(1, 13, 8, 3).double()
    tokens = embed(x).tokens
    assert tokens.shape == (1, 4, 2, 16)
    wide = F.pad(x, (0, 0, 14, 14, 14, 17))
    for start, proj in zip((0, 8, 12, 14), embed.projs, strict=True):
        reach = proj.kernel_size[0] // 2 - 2
        patch = wide[0, 14 + 4 - reach : 14 + 8 + reach, 14 - reach : 18 + reach]
        own = torch.einsum("hwc,ochw->o", patch, proj.weight) + proj.bias
        torch.testing.assert_close(tokens[0, 1, 0, start : start + len(own)], own)
    wide, mask = torch.full((1, 19, 16, 3), torch.nan).double(), torch.zeros(1, 19, 16).bool()
    wide[:, :13, :8], mask[:, :13, :8] = x, True
    masked = embed(wide, mask)
    torch.testing.assert_close(masked.tokens[:, :4, :2], tokens)
    assert masked.mask.sum() == 8
    with pytest.raises(ValueError, match="both sides"):
        CrossScaleEmbed(3, 8, (4, 7), 4)
