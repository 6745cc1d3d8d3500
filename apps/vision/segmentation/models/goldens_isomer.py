"""Isomer's parts under the release's names (DLUT-yyc/Isomer)."""

__all__ = ["ISOMER"]

from collections.abc import Callable

from torch import Tensor, nn

from apps.vision.golden_calls import call_part
from apps.vision.rules import COUNTERS, PARAMETERS, conv_rules, layer_rules, pointwise_rules
from apps.vision.segmentation.models.isomer import (
    ContextSharing,
    GatherScatter,
    GlobalContext,
    PostNormFeed,
    SaliencyHead,
)
from core.checkpoint import Mapping, Rule, derive, same
from core.ops.attend import attend
from core.verify import Facts, Golden


def _feed(ours: str = "", theirs: str = "") -> list[Rule]:
    pairs = (("enter", "linear1"), ("leave", "linear2"), ("local", "dwconv.dwconv"), ("norm", "norm"))
    return [rule for a, b in pairs for rule in layer_rules(f"{ours}{a}", f"{theirs}{b}")]


def _context(ours: str = "", theirs: str = "") -> list[Rule]:
    rules = pointwise_rules(f"{ours}weigh", f"{theirs}conv_mask")
    rules += pointwise_rules(f"{ours}enter", f"{theirs}channel_add_conv.0")
    rules += [derive(f"{ours}norm.{p}", f"{theirs}channel_add_conv.1.{p}", lambda t: t.flatten()) for p in PARAMETERS]
    return rules + pointwise_rules(f"{ours}leave", f"{theirs}channel_add_conv.3")


def _gather() -> list[Rule]:
    rules = pointwise_rules("join", "project") + pointwise_rules("heat", "generate_heat_map.sal_conv")
    for n, side in enumerate(("fg", "bg")):
        rules += pointwise_rules(f"sides.{n}.weigh", f"{side}_soft_weights")
        attention = f"{side}_self_attention_layers.{{i}}."
        rules += [same(f"sides.{n}.qkv.{{i}}.{p}", f"{attention}self_attn.in_proj_{p}") for p in PARAMETERS]
        rules += layer_rules(f"sides.{n}.out.{{i}}", f"{attention}self_attn.out_proj")
        rules += layer_rules(f"sides.{n}.norms.{{i}}", f"{attention}norm")
        rules += _feed(f"sides.{n}.feeds.{{i}}.", f"{side}_ffn_layers.{{i}}.")
    return rules


def _gather_scatter(facts: Facts) -> GatherScatter:
    config = facts.config
    sizes = config["in_channels"], config["nheads"], config["dim_feedforward"], config["select_tokens"]
    # Files of one class hold what the release returns, and what it was meant to.
    return GatherScatter(*sizes, config["dec_layers"], official="CORRECTED" not in facts.notes)


class _Cross(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out, self.norm = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim), nn.LayerNorm(dim)

    def forward(self, *rows: Tensor) -> Tensor:
        parts = zip(rows, self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True)
        q, k, v = ((t @ w.T + b).unflatten(-1, (self.heads, -1)).transpose(1, 2) for t, w, b in parts)
        return self.norm(rows[0] + self.out(attend(q, k, v).transpose(1, 2).flatten(2)))


def _call_cross(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    return run(*(x.transpose(0, 1) for x in inputs.values())).transpose(0, 1)


def _call_list(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    return run([x.movedim(1, -1) for x in inputs.values()])


def _feed_golden(facts: Facts) -> PostNormFeed:
    made = PostNormFeed(facts.config["d_model"], facts.config["dim_feedforward"])
    made.size = tuple(facts.config["size"])  # type: ignore[assignment]
    return made


def _call_feed(run, inputs: dict[str, Tensor]) -> Tensor:
    (x,) = inputs.values()
    return run(x.transpose(0, 1).unflatten(1, run.module.size)).flatten(1, 2).transpose(0, 1)


def _head_rules() -> list[Rule]:
    rules = [rule for n in range(4) for rule in layer_rules(f"fused.levels.{n}", f"linear_c{n + 1}.proj")]
    for ours, theirs in (("fused.fuse", "linear_fuse"), ("conv", "linear_project")):
        rules += conv_rules(ours, f"{theirs}.conv", f"{theirs}.bn")
    return rules + layer_rules("out", "linear_saliency_pred")


ISOMER = {
    "SelfAttentionLayer": Golden(
        lambda f: _Cross(f.config["d_model"], f.config["nhead"]),
        Mapping(
            *(same(f"qkv.{p}", f"self_attn.in_proj_{p}") for p in PARAMETERS),
            *layer_rules("out", "self_attn.out_proj"),
            *layer_rules("norm", "norm"),
        ),
        _call_cross,
    ),
    "FFNLayer": Golden(_feed_golden, Mapping(*_feed()), _call_feed),
    "GlobalContextBlock": Golden(
        lambda f: GlobalContext(f.config["inplanes"], f.config["ratio"]), Mapping(*_context()), call_part
    ),
    "ContextSharingTransformer": Golden(
        lambda f: ContextSharing(f.config["in_channels"], f.config["dim_feedforward"]),
        Mapping(
            *pointwise_rules("join", "project"),
            *_context("context.", "transformer_self_attention_layers.0."),
            *_feed("feed.", "transformer_ffn_layers.0."),
        ),
        call_part,
    ),
    "SegFormerHead": Golden(
        lambda f: SaliencyHead(f.config["in_channels"], f.config["embedding_dim"], 0.0),
        Mapping(*_head_rules(), ignore=COUNTERS),
        _call_list,
    ),
    "SemanticGatheringScatteringTransformer": Golden(_gather_scatter, Mapping(*_gather()), call_part),
}
