"""Multi-scale self-guided attention under the release's names (sinAshish/Multi-Scale-Attention)."""

__all__ = ["SELF_GUIDED", "self_guided_mapping"]

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.rules import COUNTERS, NORM, layer_rules
from apps.vision.segmentation.models.self_guided import (
    LEVELS,
    ChannelAttention,
    Guide,
    PositionAttention,
    SelfGuided,
    attended,
    conv_act,
)
from core.checkpoint import Mapping, Rule, same
from core.verify import Facts, Golden


def _conv(ours: str, theirs: str, first: int = 0, slope: bool = True) -> list[Rule]:
    """Three layers of a sequence, from number `first` on."""
    rules = layer_rules(f"{ours}.0", f"{theirs}.{first}")
    rules += [same(f"{ours}.1.{p}", f"{theirs}.{first + 1}.{p}") for p in NORM]
    return rules + ([same(f"{ours}.2.weight", f"{theirs}.{first + 2}.weight")] if slope else [])


def _attention(ours: str, theirs: str, position: bool) -> list[Rule]:
    rules = [same(f"{ours}gain", f"{theirs}gamma")]
    if position:
        for name, full in (("q", "query"), ("k", "key"), ("v", "value")):
            rules += layer_rules(f"{ours}{name}", f"{theirs}{full}_conv")
    return rules


def _attended(ours: str, theirs: str, position: bool) -> list[Rule]:
    rules = _conv(f"{ours}0", f"{theirs}attn") + _conv(f"{ours}2", f"{theirs}attn", 4)
    return rules + _attention(f"{ours}1.", f"{theirs}attn.3.", position)


def _guide(ours: str = "", theirs: str = "") -> list[Rule]:
    rules: list[Rule] = []
    for n, (up, down) in enumerate((("enc1", "dec2"), ("enc2", "dec1"))):
        for k in (0, 3):
            for part, name, kind in (("encode", up, "encode"), ("decode", down, "decode")):
                rules += layer_rules(f"{ours}{part}.{n}.{k}", f"{theirs}{name}.{kind}.{k}")
                rules += [same(f"{ours}{part}.{n}.{k + 1}.{p}", f"{theirs}{name}.{kind}.{k + 1}.{p}") for p in NORM]
        rules += layer_rules(f"{ours}decode.{n}.6", f"{theirs}{down}.decode.6")
    return rules


def self_guided_mapping() -> Mapping:
    """The whole network; scales are counted from the coarsest in some of the names."""
    rules = [same("stem.0.weight", "resnext.layer0.0.weight")]
    rules += [same(f"stem.1.{p}", f"resnext.layer0.1.{p}") for p in NORM]
    rules.append(same("layers.0.{rest*}", "resnext.layer1.1.{rest*}"))
    rules += [same(f"layers.{n}.{{rest*}}", f"resnext.layer{n + 1}.{{rest*}}") for n in range(1, LEVELS)]
    for k in range(3):
        rules += _conv(f"fuse.{k}", "fuse1.fuse_attn", 3 * k)
    for p in range(2):
        rules += _guide(f"passes.{p}.guide.", f"semanticModule_{p + 1}_1.")
        for n in range(LEVELS):
            theirs, ours = LEVELS - n, f"passes.{p}."
            rules += _attended(f"{ours}position.{n}.", f"pam_attention_{p + 1}_{n + 1}.", True)
            rules += _attended(f"{ours}channel.{n}.", f"cam_attention_{p + 1}_{n + 1}.", False)
            rules += layer_rules(f"{ours}shape.{n}", f"conv_sem_{p + 1}_{theirs}")
            rules += layer_rules(f"{ours}out.{n}", f"conv8_{theirs}" if p == 0 else f"conv8_1{theirs}")
    for n in range(LEVELS):
        rules += _conv(f"enter.{n}", f"down{n + 1}")
        rules += layer_rules(f"early.{n}", f"predict{n + 1}") + layer_rules(f"late.{n}", f"predict{n + 1}_2")
    unused = ("conv6_{n}.{rest*}", "conv7_{n}.{rest*}", "attention{n}.{rest*}", "refine{n}.{rest*}")
    return Mapping(*rules, ignore=[*COUNTERS, *unused])


class _Losses(SelfGuided):
    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        early, late, (semantic, reconstruction) = self.steps(x)
        labels = (5 * x[:, 0].sigmoid()).floor().long()
        losses = {"ce": torch.stack([F.cross_entropy(y, labels) for y in (*early, *late)]).sum()}
        losses |= {"semantic": semantic, "reconstruction": reconstruction}
        total = losses["ce"] + 0.25 * semantic + 0.1 * reconstruction
        return losses | {"total": total, "mean_logits": torch.stack([*early, *late]).mean(0)[..., ::4, ::4]}


def _multi(facts: Facts) -> nn.Module:
    first, last = conv_act(facts.config["in_ch"], 64, 3), conv_act(64, 64, 1)
    if facts.get("attn", True):
        last[2] = nn.Softmax2d()
    return nn.Sequential(first, conv_act(64, 64, 3), last)


def _multi_mapping(facts: Facts) -> Mapping:
    rules = [_conv(str(k), "fuse_attn", 3 * k, k < 2 or not facts.get("attn", True)) for k in range(3)]
    return Mapping(*(rule for own in rules for rule in own), ignore=COUNTERS)


def _inner(facts: Facts) -> nn.Module:
    dim = facts.config["in_ch"]
    return attended(dim, PositionAttention(dim) if facts.get("use_pam", True) else ChannelAttention())


def _call_guide(run: Callable, inputs: dict[str, Tensor]) -> list[Tensor]:
    code, again = run(*inputs.values())
    return [code.reshape(-1), again]


SELF_GUIDED = {
    "DAF_stack": Golden(lambda f: _Losses(5, 1), self_guided_mapping()),
    "PAM_Module": Golden(lambda f: PositionAttention(f.config["in_dim"]), Mapping(*_attention("", "", True))),
    "CAM_Module": Golden(lambda f: ChannelAttention(), Mapping(*_attention("", "", False))),
    "PAM_CAM_Layer": Golden(_inner, lambda f: Mapping(*_attended("", "", f.get("use_pam", True)), ignore=COUNTERS)),
    "MultiConv": Golden(_multi, _multi_mapping),
    "semanticModule": Golden(lambda f: Guide(f.config["in_dim"]), Mapping(*_guide(), ignore=COUNTERS), _call_guide),
}
