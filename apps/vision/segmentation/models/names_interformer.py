"""InterFormer's release (YouHuang67/InterFormer) in our names, for the whole network and its parts."""

__all__ = [
    "attention_rules",
    "block_rules",
    "interformer_official",
    "mae_rules",
    "merging_rules",
    "neck_rules",
    "refine_rules",
]

from torch import Tensor

from apps.vision.rules import COUNTERS, PARAMETERS, layer_rules, pointwise_rules
from apps.vision.segmentation.models.interformer import InterFormer
from apps.vision.segmentation.models.names_heads import FCN, UPER, head_rules
from core.checkpoint import Mapping, Rule, derive, same


def attention_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """Attention to pooled maps."""
    rules = layer_rules(f"{ours}q", f"{theirs}query_proj") + layer_rules(f"{ours}out", f"{theirs}proj")
    for number, name in enumerate("kv"):
        rules += [
            derive(f"{ours}{name}.{p}", f"{theirs}key_value_proj.{p}", lambda t, n=number: t.chunk(2)[n])
            for p in PARAMETERS
        ]
    rules += layer_rules(f"{ours}norm", f"{theirs}norm")
    return rules + [same(f"{ours}local.{{r}}.{p}", f"{theirs}dconvs.{{r}}.{p}") for p in PARAMETERS]


def block_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """A block of the neck."""
    rules = attention_rules(f"{ours}attention.", f"{theirs}attn.")
    for name, full in (("norm", "norm1"), ("norm_keys", "norm_kv"), ("norm_feed", "norm2")):
        rules += layer_rules(f"{ours}{name}", f"{theirs}{full}")
    rules += pointwise_rules(f"{ours}feed.enter.0", f"{theirs}mlp.0") + layer_rules(
        f"{ours}feed.local", f"{theirs}mlp.2"
    )
    return rules + pointwise_rules(f"{ours}feed.leave", f"{theirs}mlp.4")


def merging_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """Nine tokens to one."""
    return [*layer_rules(f"{ours}norm", f"{theirs}norm"), same(f"{ours}reduction.weight", f"{theirs}reduction.weight")]


def refine_rules(ours: str = "", theirs: str = "blocks.") -> list[Rule]:
    """Blocks in a row."""
    return block_rules(f"{ours}{{j}}.", f"{theirs}{{j}}.")


def neck_rules(depths: list[int], start: list[int], ours: str = "", theirs: str = "") -> list[Rule]:
    """The whole neck.

    Args:
        depths: blocks in each level.
        start: how many of these the release keeps in its first list.
        ours: in front of our names.
        theirs: in front of the release's names.
    """
    rules = [same(f"{ours}embed", f"{theirs}patch_embed")]
    for i, (depth, first) in enumerate(zip(depths, start, strict=True)):
        for j in range(depth):
            where = f"stages.{i}.blocks.{j}." if j < first else f"refine_stages.{i}.blocks.{j - first}."
            rules += block_rules(f"{ours}levels.{i}.{j}.", f"{theirs}{where}")
        rules += layer_rules(f"{ours}norms.{i}", f"{theirs}norm{i}")
    return rules + merging_rules(f"{ours}merges.{{i}}.", f"{theirs}stages.{{i}}.downsample.")


def mae_rules(grid: tuple[int, int], ours: str = "", theirs: str = "") -> list[Rule]:
    """Encoder and pyramid.

    Args:
        grid: of the tables.
        ours: in front of our names.
        theirs: in front of the release's names.
    """

    def table(t: Tensor) -> Tensor:
        return t[0, 1:].unflatten(0, grid)

    position = f"{theirs}pos_embed"
    rules = [
        derive(f"{ours}front", f"{theirs}cls_token", lambda t: t.flatten()),
        derive(f"{ours}front_position", position, lambda t: t[0, 0]),
        derive(f"{ours}position", position, table),
        *layer_rules(f"{ours}embed.proj", f"{theirs}patch_embed.projection"),
    ]
    own, other = f"{ours}blocks.{{i}}.", f"{theirs}layers.{{i}}."
    rules += layer_rules(f"{own}mix.norm", f"{other}ln1") + layer_rules(f"{own}feed.norm", f"{other}ln2")
    rules += [same(f"{own}mix.scale", f"{other}gamma_1"), same(f"{own}feed.scale", f"{other}gamma_2")]
    rules += layer_rules(f"{own}mix.inner.qkv", f"{other}attn.qkv") + layer_rules(
        f"{own}mix.inner.out", f"{other}attn.proj"
    )
    rules.append(same(f"{own}mix.inner.bias.table", f"{other}attn.relative_position_bias_table"))
    rules += layer_rules(f"{own}feed.inner.enter", f"{other}ffn.layers.0.0")
    rules += layer_rules(f"{own}feed.inner.leave", f"{other}ffn.layers.1")
    for n, name in enumerate(("four", "two", "one")):
        rules += [same(f"{ours}pyramid.{name}.{{k}}.{p}", f"{theirs}fpn.rescale_ops.{n}.{{k}}.{p}") for p in PARAMETERS]
    rules += layer_rules(f"{ours}pyramid.halve.proj", f"{theirs}fpn.rescale_ops.3.0")
    for k in range(3):
        rules += layer_rules(f"{ours}pyramid.below.{k}", f"{theirs}fpn.rescale_ops.3.{k + 1}")
    return rules


def interformer_official(network: InterFormer) -> Mapping:
    """The whole network with both heads."""
    neck = network.neck
    rules = mae_rules(network.backbone.grid, "backbone.", "backbone.")  # type: ignore[arg-type]
    rules += neck_rules([len(blocks) for blocks in neck.levels], list(neck.start), "neck.", "neck.")  # type: ignore[arg-type]
    rules += head_rules(UPER, "head.", "decode_head.") + head_rules(FCN, "helper.", "auxiliary_head.")
    return Mapping(*rules, ignore=(*COUNTERS, "{rest*}.relative_position_index"))
