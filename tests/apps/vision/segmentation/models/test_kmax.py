"""kMaX-DeepLab: sizes, any image, any backbone, padding, checkpoints, and what it learns by."""

from collections import defaultdict

import pytest
import torch

from apps.vision.backbones.convnext import ConvNeXt
from apps.vision.backbones.mit import MiT
from apps.vision.backbones.resnet import ResNet
from apps.vision.backbones.shvit import SHViT
from apps.vision.segmentation.kmax_criterion import KMaXCriterion, truth_of
from apps.vision.segmentation.mask_losses import PanopticLoss
from apps.vision.segmentation.models import kmax_variants
from apps.vision.segmentation.models.kmax import KMaX, kmax_small
from apps.vision.segmentation.models.kmax_convnext import KMaXConvNeXt
from apps.vision.segmentation.models.kmax_decoder import TransformerDecoder
from apps.vision.segmentation.models.kmax_heads import PlainSemanticHead, SemanticHead
from apps.vision.segmentation.models.kmax_pixel_decoder import PixelDecoder
from apps.vision.segmentation.models.names_kmax import kmax_mapping
from apps.vision.segmentation.panoptic import Merge
from core.checkpoint import check, load
from core.errors import UserError
from core.mixers.position_sensitive import TokenBatchNorm

BACKBONES = {
    "resnet": lambda: ResNet((1, 1, 1, 1), (4, 6, 8, 10), bottleneck=False, stem_dim=4),
    "resnet with its stem": lambda: ResNet((1, 1, 1, 1), (8, 12, 16, 20), stem_dim=4, stem=True),
    "small strides": lambda: ResNet((1, 1, 1, 1), (4, 6, 8, 10), bottleneck=False, stem_dim=4, stem_stride=1),
    "convnext": lambda: ConvNeXt((1, 1, 1, 1), (4, 6, 8, 10)),
    "kmax convnext": lambda: KMaXConvNeXt((1, 1, 1, 1), (4, 6, 8, 10)),
    "kmax convnext with its stem": lambda: KMaXConvNeXt((1, 1, 1, 1), (4, 6, 8, 10), stem=True),
    "mit": lambda: MiT((8, 16, 24, 32), (1, 1, 1, 1), (1, 2, 3, 4)),
    "three levels": lambda: SHViT((1, 1, 1), (8, 12, 16), (0, 4, 6), head_dim=4),
}


def small(backbone="resnet", semantic=SemanticHead, **options):
    """32 numbers wide at most; norms that start a branch at 0 do something."""
    torch.manual_seed(0)
    net = KMaX(
        3,
        BACKBONES[backbone](),
        lambda channels: PixelDecoder(channels, (1, 1, 1, 1, 1), (8, 8, 4, 4, 4), heads=2),
        lambda widths, classes: TransformerDecoder(
            widths, classes, queries=5, depths=(1, 1, 1), dim=16, heads=2, hidden=8, mask_dim=8, mask_gain=1.0
        ),
        semantic and (lambda channels, classes: semantic(channels, classes, dim=8)),
        **options,
    )
    for part in net.modules():
        if isinstance(part, TokenBatchNorm):
            torch.nn.init.normal_(part.weight, 1.0, 0.1)
    return net


def scene(batch=2, size=(33, 40)):
    """A batch of squares on a ground, with a crowd in the second image."""
    segments = torch.zeros(batch, *size, dtype=torch.int64)
    segments[:, 4:20, 4:20], segments[:, 6:, 25:], segments[:, :3] = 1, 2, -1
    crowd = [torch.zeros(3, dtype=torch.bool) for _ in range(batch)]
    crowd[-1][1] = True
    return {
        "image": torch.randn(batch, 3, *size),
        "labels": segments,
        "segments": segments,
        "kinds": [torch.tensor([0, 1, 2])] * batch,
        "crowd": crowd,
        "name": ["a"] * batch,
        "index": [0] * batch,
    }


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("r50_coco", 57),
        ("convnext_tiny_coco", 61),
        ("convnext_small_coco", 83),
        ("convnext_base_coco", 122),
        ("convnext_large_coco", 232),
        ("convnext_large_cityscapes", 232),
        ("convnext_large_ade20k", 232),
        ("r50_ade20k", 57),
        ("r50_cityscapes", 56),
    ],
)
def test_published_sizes(name, millions):
    """In millions, without the head that serves training alone."""
    with torch.device("meta"):
        net = getattr(kmax_variants, f"kmax_{name}")()
    count = sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in net.semantic.parameters())
    assert round(count / 1e6) == millions


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("size", [(1, 1), (33, 47)])
def test_any_backbone_and_size(backbone, size):
    net = small(backbone).eval()
    net.things = (0,)
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        found = net(x)
    assert found.main.shape == (2, 3, *size) and found.masks.others == () and found.masks.semantic is None
    assert [p.segments.shape for p in net.panoptic(net(x))] == [size, size]
    assert all((p.kinds == 0).all() for p in net.instances(net(x), top=4))


@pytest.mark.parametrize("backbone", ["resnet", "kmax convnext with its stem", "three levels"])
@pytest.mark.parametrize("head", [SemanticHead, PlainSemanticHead, None])
def test_training_reaches_every_weight(backbone, head):
    net, batch = small(backbone, head).train(), scene()
    made = net(batch["image"])
    size = made.masks.masks.shape[2:]
    assert [layer.masks.shape[2:] for layer in made.masks.others] == [size] * 3
    assert all(layer.pixels.shape[2:] == size for layer in made.masks.others)
    criterion = KMaXCriterion()
    loss = criterion(made, batch)
    loss.backward()
    assert set(criterion.parts(made, batch)) == {"classes", "masks", "dice", "pixels"} | (
        {"semantic"} if head else set()
    )
    without = {name for name, p in net.named_parameters() if p.grad is None}
    assert not without
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_it_learns_two_squares():
    """Its own masks, on an image that shows them: the loss of masks falls below a half."""
    net, batch = small("small strides", None).train(), scene(size=(32, 32))
    batch["image"] = torch.nn.functional.one_hot(batch["segments"] + 1, 4)[..., 1:].permute(0, 3, 1, 2).float()
    criterion = KMaXCriterion(PanopticLoss(pixels=0.0, pixel_samples=8))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-2)
    losses = []
    for _ in range(30):
        made = net(batch["image"])
        optimizer.zero_grad()
        criterion(made, batch).backward()
        optimizer.step()
        losses.append(criterion.parts(made, batch)["masks"].item())
    assert losses[-1] < 0.5 * losses[0]


def test_crowds_are_void():
    truth = truth_of(scene())
    assert [kinds.tolist() for kinds in truth.classes] == [[0, 1, 2], [0, 2]]
    assert set(truth.segments[0].unique().tolist()) == {-1, 0, 1, 2}
    assert (truth.segments[1][4:20, 4:20] == -1).all() and (truth.segments[1][6:, 25:] == 1).all()
    with pytest.raises(UserError, match="has classes but no segments"):
        truth_of(scene() | {"segments": None})


@pytest.mark.parametrize("backbone", ["resnet", "convnext"])
def test_padding_is_given_to_nobody(backbone):
    """Masked, garbage at the sides changes nothing; official, padding takes part as zeros."""
    net = small(backbone).double().eval()
    x = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    mask = torch.zeros(1, 64, 96, dtype=torch.bool)
    mask[:, :32, :64] = True
    x[~mask[:, None].expand_as(x)] = 50.0
    with torch.no_grad():
        found = net(x, mask)
        other = net(torch.where(mask[:, None], x, -7.0), mask)
        torch.testing.assert_close(other.masks, found.masks)
        padded = x.masked_fill(~mask[:, None], 0)
        assert not torch.allclose(net(padded).masks.classes, found.masks.classes)
        net.official = True
        torch.testing.assert_close(net(x, mask).masks, net(padded).masks)


def test_padding_does_not_vote():
    """The queries, and so the classes, of a padded image are those of the image, but for what resizing mixes."""
    torch.manual_seed(0)
    decoder = TransformerDecoder((8, 8, 8, 8), 3, queries=4, depths=(1, 1, 1), dim=16, heads=2, hidden=8, mask_dim=8)
    decoder = decoder.double().eval()
    maps = [torch.randn(2, n, n + 1, 8, dtype=torch.float64) for n in (2, 4, 8, 16)]
    wide, masks = [], []
    for x in maps:
        y = torch.randn(2, x.shape[1] + 3, x.shape[2] + 2, 8, dtype=torch.float64)
        y[:, : x.shape[1], : x.shape[2]] = x
        mask = torch.zeros(y.shape[:3], dtype=torch.bool)
        mask[:, : x.shape[1], : x.shape[2]] = True
        wide.append(y)
        masks.append(mask)
    with torch.no_grad():
        for a, b in zip(decoder(wide, masks, masks), decoder(maps), strict=True):
            torch.testing.assert_close(a.classes, b.classes)
            torch.testing.assert_close(a.masks[..., : b.masks.shape[2], : b.masks.shape[3]], b.masks)


def official_names(net):
    """Every weight under its official name, drawn anew."""
    official, split = {}, defaultdict(list)
    for name, value in net.state_dict().items():
        parts = name.split(".")
        split[len(parts), parts[-1]].append((parts, value))
    for rule in kmax_mapping(net).rules:
        places = rule.target.split(".")
        # Backbones' rules leave the last part open.
        ends = ("weight", "bias", "scale") if places[-1].startswith("{") else (places[-1],)
        for parts, value in (row for end in ends for row in split[len(places), end]):
            if all(a == b or a[0] == "{" for a, b in zip(places, parts, strict=True)):
                theirs = rule.sources[0]
                for place, part in zip(places, parts, strict=True):
                    theirs = theirs.replace(place, part) if place[0] == "{" else theirs
                official[theirs] = unmade(theirs, torch.randn_like(value, dtype=torch.float32))
    return official


def unmade(name, value):
    """The release's shapes: convolutions where we have linear layers, centres with queries last."""
    if name.endswith("_cluster_centers.weight"):
        return value.T.contiguous()
    linear = value.ndim == 2 and name.startswith("sem_seg_head") and name.endswith(".conv.weight")
    if linear:
        flat = "qkv_transform" in name or "._query_" in name or "transformer_" in name or "embedding" in name
        return value[..., None] if flat or "_kmeans_query" in name else value[..., None, None]
    return value


@pytest.mark.parametrize("name", ["kmax_r50_coco", "kmax_r50_cityscapes", "kmax_convnext_tiny_coco"])
def test_official_checkpoints_load(name):
    """Names as in the release's files; every weight of ours is filled, none of theirs is left."""
    with torch.device("meta"):
        net = getattr(kmax_variants, name)()
    official = official_names(net)
    head, first = "sem_seg_head.predictor.", "sem_seg_head.pixel_decoder._stages.0._blocks.0."
    expected = {
        f"{head}_cluster_centers.weight": (256, 256 if "cityscapes" in name else 128),
        f"{head}_kmax_transformer_layers.5._predcitor._transformer_class_head.conv.bias": (
            20 if "city" in name else 134,
        ),
        f"{head}_kmax_transformer_layers.0._query_ffn_conv1_bn_act.conv.weight": (2048, 256, 1),
        f"{head}_predcitor._pixel_space_mask_batch_norm.running_var": (1,),
        f"{first}_attention._height_axis._query_rpe._embeddings.weight": (509, 64),
        f"{first}_attention._width_axis.qkv_transform.conv.weight": (2048, 1024, 1),
        "sem_seg_head.pixel_decoder._stages.1._blocks.4._conv3_bn.norm.weight": (1024,),
        "sem_seg_head.pixel_decoder._resized_fuses.2._conv_bn_low.conv.weight": (64, 512, 1, 1),
        "sem_seg_head.pixel_decoder._in_norms.3.weight": (64 if "city" in name else (256 if "r50" in name else 96),),
    }
    if "r50" in name:
        expected["backbone.res2.0.shortcut.weight"] = (256, 64, 1, 1)
        expected["backbone.stem.conv1.norm.running_mean"] = (64,)
    else:
        expected["backbone.downsample_layers.1.1.weight"] = (192, 96, 2, 2)
    if "city" in name:
        expected[f"{head}_auxiliary_semantic_predictor.2.conv.weight"] = (19, 256, 1, 1)
    else:
        expected[f"{head}_auxiliary_semantic_predictor._aspp._aspp_conv2.conv.weight"] = (
            256,
            2048 if "r50" in name else 768,
            3,
            3,
        )
    for key, shape in expected.items():
        assert tuple(official[key].shape) == shape, key
    official["backbone.stem.conv1.norm.num_batches_tracked"] = torch.tensor(1)
    check(net, official, kmax_mapping(net))
    del official[f"{head}_kmax_transformer_layers.3._query_qkv_conv_bn.conv.weight"]
    with pytest.raises(UserError, match=r"missing: .*qkv"):
        check(net, official, kmax_mapping(net))


def test_official_weights_land_where_they_belong():
    net = small(semantic=PlainSemanticHead)
    official = official_names(net)
    load(net, official, kmax_mapping(net))
    head = "sem_seg_head.predictor."
    theirs = official[f"{head}_kmax_transformer_layers.1._query_qkv_conv_bn.conv.weight"]
    assert torch.equal(net.decoder.layers[1].qkv.conv.weight, theirs[..., 0])
    assert torch.equal(net.decoder.centres, official[f"{head}_cluster_centers.weight"].T)
    assert torch.equal(net.backbone.stages[0].down.conv.conv.weight, official["backbone.stem.conv1.weight"])


def test_only_published_backbones_have_names():
    with pytest.raises(ValueError, match="releases have a ResNet or a ConvNeXt"):
        kmax_mapping(small("mit"))


def test_convnext_sees_one_pixel_outside_of_the_image():
    """The stem is a convolution over zeros around the image; a norm makes its bias of those of later levels."""
    torch.manual_seed(0)
    net = KMaXConvNeXt((1, 1, 1, 1), (4, 6, 8, 10), stem=True).eval()
    x = torch.randn(1, 3, 65, 50)
    first, stem, second, *_ = net(x)
    assert net.strides == [4, 4, 8, 16, 32] and net.channels == [4, 4, 6, 8, 10]
    embed = net.stages[0].down.embed
    expected = embed.proj(torch.nn.functional.pad(x, (1, 2, 1, 2)))
    torch.testing.assert_close(stem, embed.norm(expected.movedim(1, -1)))
    down = net.stages[1].down
    entered = down.embed.proj(down.norm(torch.nn.functional.pad(first, (0, 0, 0, 1, 0, 1))).movedim(-1, 1))
    torch.testing.assert_close(second, net.stages[1].mix(entered.movedim(1, -1)))
    assert [tuple(f.shape[1:3]) for f in (first, second)] == [(17, 13), (9, 7)]
    plain = KMaXConvNeXt((1, 1, 1, 1), (4, 6, 8, 10)).eval()
    plain.load_state_dict(net.state_dict())
    torch.testing.assert_close(plain(x)[1], second)
    with pytest.raises(ValueError, match=r"leave the mask out|depend on the extent"):
        plain(x, mask=torch.ones(1, 65, 50, dtype=torch.bool))


def test_the_small_one_sees_every_pixel():
    net = kmax_small(10).eval()
    assert sum(p.numel() for p in net.parameters()) == 1_179_375
    assert net(torch.randn(1, 3, 20, 31)).masks.masks.shape == (1, 32, 20, 31)
    norms = [p for p in net.modules() if isinstance(p, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)]
    assert {p.momentum for p in norms} == {0.1}


def test_thresholds_of_the_releases():
    with torch.device("meta"):
        city, coco = kmax_variants.kmax_r50_cityscapes().merge, kmax_variants.kmax_r50_coco().merge
    assert (city.thing, city.stuff, city.overlap, city.mask_power) == (0.5, 0.3, 0.9, 0.0)
    assert vars(coco) == vars(Merge())


def test_too_few_depths_are_named():
    with pytest.raises(ValueError, match="5 levels of features, 4 depths"):
        PixelDecoder((4, 4, 4, 4, 4))
