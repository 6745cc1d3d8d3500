"""RGT and its parts under their official names; tokens there are (B, H W, C), with H and W beside them."""

__all__ = ["RGT_TABLE", "rgt_mapping"]


from torch import nn

from apps.vision.golden_calls import call_tokens
from apps.vision.rules import pointwise_rules
from apps.vision.superres.models.rgt import RGT, shifted
from apps.vision.superres.models.rgt_layers import RGTBlock, SpatialGateMLP, one_conv, three_convs
from core.checkpoint import Mapping, Rule, same
from core.mixers import RectangleAttention, RecursiveGeneralization
from core.verify import Facts, Golden

# Buffers that are recomputed from sizes.
_TABLES = ("rpe_biases", "relative_position_index")


def rgt(facts: Facts) -> RGT:
    depths = facts.get("depth", (2, 2, 2, 2))
    return RGT(
        facts.get("upscale", 2),
        channels=facts.get("in_chans", 3),
        dim=facts.get("embed_dim", 180),
        depths=depths,
        heads=facts.get("num_heads", (2, 2, 2, 2))[: len(depths)],
        window=facts.get("split_size", (8, 8)),
        ratio=facts.get("c_ratio", 0.5),
        mlp_ratio=facts.get("mlp_ratio", 4.0),
        bias=facts.get("qkv_bias", True),
        score_scale=facts.get("qk_scale", None),
        drop_path=facts.get("drop_path_rate", 0.1),
        make_join=three_convs if facts.get("resi_connection", "1conv") == "3conv" else one_conv,
        value_range=facts.get("img_range", 1.0),
    )


def local(facts: Facts) -> nn.Module:
    config = facts.config
    shift = facts.get("shift_size", (1, 2)) if shifted(facts.get("rs_id", 0), facts.get("idx", 0)) else (0, 0)
    return RectangleAttention(
        config["dim"],
        config["num_heads"],
        facts.get("split_size", (2, 4)),
        shift=shift,
        bias=facts.get("qkv_bias", False),
        scale=facts.get("qk_scale", None),
        official=True,
    )


def recursive(facts: Facts) -> nn.Module:
    return RecursiveGeneralization(
        facts.config["dim"],
        facts.get("num_heads", 8),
        ratio=facts.get("c_ratio", 0.5),
        bias=facts.get("qkv_bias", False),
        scale=facts.get("qk_scale", None),
    )


def block(facts: Facts) -> nn.Module:
    dim = facts.config["dim"]
    mixer = recursive(facts) if facts.get("idx", 0) % 2 else local(facts)
    return RGTBlock(dim, mixer, SpatialGateMLP(dim, int(dim * facts.get("mlp_ratio", 4.0))))


def feed(facts: Facts) -> nn.Module:
    config = facts.config
    return SpatialGateMLP(config["in_features"], config.get("hidden_features") or config["in_features"])


def mixer_rules(ours: str, theirs: str) -> list[Rule]:
    """Of both kinds of attention, which share no name but that of the output."""
    rules = [
        same(f"{ours}out.{{p}}", f"{theirs}proj.{{p}}"),
        same(f"{ours}qkv.{{p}}", f"{theirs}qkv.{{p}}"),
        same(f"{ours}local.{{p}}", f"{theirs}get_v.{{p}}"),
        same(f"{ours}reduce.{{p}}", f"{theirs}reduction1.{{p}}"),
        same(f"{ours}near.{{p}}", f"{theirs}dwconv.{{p}}"),
        *pointwise_rules(f"{ours}narrow", f"{theirs}conv"),
        same(f"{ours}norm.{{p}}", f"{theirs}norm_act.0.{{p}}"),
        same(f"{ours}local.{{p}}", f"{theirs}cpe.{{p}}"),
        *(same(f"{ours}{name}.{{p}}", f"{theirs}{name}.{{p}}") for name in "qkv"),
        same(f"{ours}score_biases.{{b}}.enter.{{p}}", f"{theirs}attns.{{b}}.pos.pos_proj.{{p}}"),
    ]
    for number in range(3):
        pos = f"{theirs}attns.{{b}}.pos.pos{number + 1}."
        rules += [
            same(f"{ours}score_biases.{{b}}.norms.{number}.{{p}}", f"{pos}0.{{p}}"),
            same(f"{ours}score_biases.{{b}}.layers.{number}.{{p}}", f"{pos}2.{{p}}"),
        ]
    return rules


def feed_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        same(f"{ours}enter.{{p}}", f"{theirs}fc1.{{p}}"),
        same(f"{ours}norm.{{p}}", f"{theirs}sg.norm.{{p}}"),
        same(f"{ours}near.{{p}}", f"{theirs}sg.conv.{{p}}"),
        same(f"{ours}leave.{{p}}", f"{theirs}fc2.{{p}}"),
    ]


def block_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        same(f"{ours}gamma", f"{theirs}gamma"),
        same(f"{ours}block.mix.norm.{{p}}", f"{theirs}norm1.{{p}}"),
        *mixer_rules(f"{ours}block.mix.inner.", f"{theirs}attn."),
        same(f"{ours}block.feed.norm.{{p}}", f"{theirs}norm2.{{p}}"),
        *feed_rules(f"{ours}block.feed.inner.", f"{theirs}mlp."),
    ]


def _tables(theirs: str) -> list[str]:
    return [f"{theirs}attns.{{b}}.{name}" for name in _TABLES] + [f"{theirs}attn_mask_{b}" for b in (0, 1)]


def rgt_mapping(network: RGT) -> Mapping:
    groups = len(network.body) - 2  # a norm before and after them
    rules = [
        same("enter.{p}", "conv_first.{p}"),
        same("body.0.{p}", "before_RG.1.{p}"),
        same(f"body.{groups + 1}.{{p}}", "norm.{p}"),
        same("join.{p*}", "conv_after_body.{p*}"),
        same("upsampler.enter.{p}", "conv_before_upsample.0.{p}"),
        *(same(f"upsampler.steps.{i}.{{p}}", f"upsample.{2 * i}.{{p}}") for i in range(3)),
        same("upsampler.leave.{p}", "conv_last.{p}"),
    ]
    for group in range(groups):
        rules += block_rules(f"body.{group + 1}.blocks.{{i}}.", f"layers.{group}.blocks.{{i}}.")
        rules.append(same(f"body.{group + 1}.join.{{p*}}", f"layers.{group}.conv.{{p*}}"))
    return Mapping(*rules, ignore=["mean", *_tables("layers.{g}.blocks.{i}.attn.")])


RGT_TABLE = {
    "RGT": Golden(rgt, lambda facts: rgt_mapping(rgt(facts))),
    "Block": Golden(block, Mapping(*block_rules("", ""), ignore=_tables("attn.")), call_tokens),
    "L_SA": Golden(local, Mapping(*mixer_rules("", ""), ignore=_tables("")), call_tokens),
    "RG_SA": Golden(recursive, Mapping(*mixer_rules("", "")), call_tokens),
    "MLP": Golden(feed, Mapping(*feed_rules("", "")), call_tokens),
}
