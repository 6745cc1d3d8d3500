import pytest
import torch
from torch import nn

from apps.vision.backbones import Classifier, load_release, metaformer
from apps.vision.backbones.testing import check_backbone

DEPTHS, DIMS = (1, 1, 2, 1), (4, 6, 32, 64)
FAMILIES = {
    "poolformer": lambda **other: metaformer._POOLFORMER(DEPTHS, DIMS, layer_scale=1e-5, **other),
    "poolformerv2": lambda **other: metaformer._POOLFORMERV2(DEPTHS, DIMS, **other),
    "convformer": lambda **other: metaformer._CONVFORMER(DEPTHS, DIMS, **other),
    "caformer": lambda **other: metaformer._CAFORMER(DEPTHS, DIMS, **other),
}
COUNTS = {
    "poolformer_s12": 11_915_176,
    "poolformer_s24": 21_388_968,
    "poolformer_s36": 30_862_760,
    "poolformerv2_s12": 11_891_712,
    "convformer_s18": 26_774_448,
    "convformer_s36": 40_012_152,
    "caformer_s18": 26_341_656,
    "caformer_s36": 39_297_102,
    "caformer_b36": 98_753_614,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_promises(family, perturbed, trains):
    check_backbone(lambda: perturbed(FAMILIES[family]()))
    trains(FAMILIES[family](drop_path=0.1))


@pytest.mark.parametrize("name", COUNTS)
def test_published_number_of_parameters(name, parameters_of):
    assert parameters_of(getattr(metaformer, name)) == COUNTS[name]


def test_official_stem_counts_otherwise():
    torch.manual_seed(0)
    ours, theirs = FAMILIES["convformer"]().eval(), FAMILIES["convformer"](official=True).eval()
    theirs.load_state_dict(ours.state_dict())
    for size, count in ((32, 8), (35, 9), (33, 8), (34, 8)):
        x = torch.randn(1, 3, size, 32)
        assert ours(x)[0].shape[1] == -(-size // 4) and theirs(x)[0].shape[1] == count
        if size % 4 in (0, 3):
            torch.testing.assert_close(ours(x), theirs(x))


def _timm(family):
    timm = pytest.importorskip("timm.models.metaformer")
    arguments = {
        "poolformer": {
            "downsample_norm": None,
            "mlp_act": nn.GELU,
            "mlp_bias": True,
            "norm_layers": timm.GroupNorm1,
            "layer_scale_init_values": 1e-5,
            "res_scale_init_values": None,
            "use_mlp_head": False,
        },
        "poolformerv2": {"norm_layers": timm.GroupNorm1NoBias, "use_mlp_head": False},
        "convformer": {"token_mixers": timm.SepConv, "norm_layers": timm.LayerNorm2dNoBias},
        "caformer": {
            "token_mixers": [timm.SepConv, timm.SepConv, timm.Attention, timm.Attention],
            "norm_layers": [timm.LayerNorm2dNoBias] * 2 + [timm.LayerNormNoBias] * 2,
        },
    }[family]
    return timm.MetaFormer(depths=DEPTHS, dims=DIMS, num_classes=5, **arguments).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_of_timm(family, tmp_path):
    torch.manual_seed(0)
    theirs = _timm(family)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.ndim > 1 else 0.5))
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = Classifier(FAMILIES[family](), 5).eval()
    load_release(ours, tmp_path / "weights.pth")
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        last = ours.backbone(x)[-1]
        torch.testing.assert_close(last.movedim(-1, 1), theirs.forward_features(x), rtol=1e-5, atol=1e-4)
        if family != "poolformer":  # timm's own head
            torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-4)


def test_weights_of_poolformers_release(tmp_path):
    """Stages and downsamplings as its code numbers them, 1 x 1 convolutions for linear layers."""
    torch.manual_seed(0)
    network = Classifier(FAMILIES["poolformer"](), 5).eval()
    official = {"head.weight": network.head.linear.weight, "head.bias": network.head.linear.bias}
    official |= {f"norm.{name}": p for name, p in network.head.norm_tokens.named_parameters()}
    for i, stage in enumerate(network.backbone.stages):
        down = f"network.{2 * i - 1}" if i else "patch_embed"
        official |= {f"{down}.proj.{name}": p for name, p in stage.down.embed.proj.named_parameters()}
        for j, block in enumerate(stage.blocks):
            for n, branch in ((1, block.mix), (2, block.feed)):
                here = f"network.{2 * i}.{j}."
                official[f"{here}layer_scale_{n}"] = branch.scale
                official |= {f"{here}norm{n}.{name}": p for name, p in branch.norm.named_parameters()}
            for n, layer in ((1, block.feed.inner.enter), (2, block.feed.inner.leave)):
                official[f"{here}mlp.fc{n}.weight"] = layer.weight[..., None, None]
                official[f"{here}mlp.fc{n}.bias"] = layer.bias
    torch.save({name: p.detach() for name, p in official.items()}, tmp_path / "poolformer.pth")
    other = Classifier(FAMILIES["poolformer"](), 5).eval()
    load_release(other, tmp_path / "poolformer.pth")
    x = torch.randn(1, 3, 40, 40)
    torch.testing.assert_close(other(x), network(x))
