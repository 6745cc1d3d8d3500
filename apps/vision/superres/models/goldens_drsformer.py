"""DRSformer and its parts under their official names."""

__all__ = ["DRSFORMER", "drsformer_mapping"]

import torch
from torch import nn

from apps.vision.golden_calls import call_part
from apps.vision.rules import pointwise_rules
from apps.vision.superres.models.drsformer import DRSformer
from apps.vision.superres.models.drsformer_layers import BiasFreeNorm, Experts, ExpertStep, MixedScaleMLP
from core.blocks import Block
from core.checkpoint import Mapping, Rule, derive, same
from core.mixers import ChannelAttention
from core.mixers.channel_attention import TopKWeights
from core.verify import Facts, Golden


def make_norm(facts: Facts) -> type[nn.Module]:
    """The release takes `BiasFree` by name and the common norm for anything else."""
    return BiasFreeNorm if facts.get("LayerNorm_type", "WithBias") == "BiasFree" else nn.LayerNorm


def drsformer(facts: Facts) -> DRSformer:
    # Both variants have one name and one constructor; the weights tell.
    experts = not facts.weights or any(name.startswith("encoder_level0.") for name in facts.weights)
    return DRSformer(
        channels=facts.get("inp_channels", 3),
        dim=facts.get("dim", 48),
        depths=facts.get("num_blocks", (4, 6, 6, 8)),
        heads=facts.get("heads", (1, 2, 4, 8)),
        expansion=facts.get("ffn_expansion_factor", 2.66),
        bias=facts.get("bias", False),
        make_norm=make_norm(facts),
        experts=experts,
    )


def block(facts: Facts) -> nn.Module:
    config = facts.config
    return Block(config["dim"], attention(facts), feed(facts), norm=make_norm(facts))


def attention(facts: Facts) -> nn.Module:
    config = facts.config
    return ChannelAttention(config["dim"], config["num_heads"], bias=config["bias"], weighting=TopKWeights)


def feed(facts: Facts) -> nn.Module:
    config = facts.config
    return MixedScaleMLP(config["dim"], int(config["dim"] * config["ffn_expansion_factor"]), bias=config["bias"])


def experts(facts: Facts) -> nn.Module:
    return Experts(facts.config["dim"], depth=facts.get("layer_num", 1), steps=facts.get("steps", 4))


def attention_rules(ours: str, theirs: str) -> list[Rule]:
    shares = [f"{theirs}attn{number}" for number in (1, 2, 3, 4)]
    return [
        derive(f"{ours}temperature", f"{theirs}temperature", lambda t: t[:, 0, 0]),
        derive(f"{ours}weighting.shares", shares, lambda *parts: torch.cat(parts)),
        *pointwise_rules(f"{ours}qkv", f"{theirs}qkv"),
        same(f"{ours}local.{{p}}", f"{theirs}qkv_dwconv.{{p}}"),
        *pointwise_rules(f"{ours}out", f"{theirs}project_out"),
    ]


def feed_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        *pointwise_rules(f"{ours}enter", f"{theirs}project_in"),
        same(f"{ours}near.{{p}}", f"{theirs}dwconv3x3.{{p}}"),
        same(f"{ours}wide.{{p}}", f"{theirs}dwconv5x5.{{p}}"),
        same(f"{ours}near_pairs.{{p}}", f"{theirs}dwconv3x3_1.{{p}}"),
        same(f"{ours}wide_pairs.{{p}}", f"{theirs}dwconv5x5_1.{{p}}"),
        *pointwise_rules(f"{ours}leave", f"{theirs}project_out"),
    ]


def block_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        same(f"{ours}mix.norm.{{p}}", f"{theirs}norm1.body.{{p}}"),
        *attention_rules(f"{ours}mix.inner.", f"{theirs}attn."),
        same(f"{ours}feed.norm.{{p}}", f"{theirs}norm2.body.{{p}}"),
        *feed_rules(f"{ours}feed.inner.", f"{theirs}ffn."),
    ]


def step_rules(ours: str, theirs: str) -> list[Rule]:
    rules = [*pointwise_rules(f"{ours}gather", f"{theirs}_out.0")]
    for number in range(4):
        op = f"{theirs}_ops.{number}.op."
        rules += [
            same(f"{ours}first.{number}.weight", f"{op}0.weight"),
            *pointwise_rules(f"{ours}between.{number}", f"{op}1"),
            same(f"{ours}second.{number}.weight", f"{op}3.weight"),
            *pointwise_rules(f"{ours}last.{number}", f"{op}4"),
        ]
    for number in range(3):
        op = f"{theirs}_ops.{4 + number}.op."
        rules += [
            same(f"{ours}dilated.{number}.weight", f"{op}0.weight"),
            *pointwise_rules(f"{ours}last.{4 + number}", f"{op}1"),
        ]
    return rules


def experts_rules(ours: str, theirs: str, depth: int) -> list[Rule]:
    rules = []
    for number in range(depth):
        gate, layer = f"{theirs}layers.{2 * number}.", f"{theirs}layers.{2 * number + 1}."
        rules += [
            same(f"{ours}gates.{number}.{{i}}.{{p}}", f"{gate}ca_fc.{{i}}.{{p}}"),
            *pointwise_rules(f"{ours}enter.{number}", f"{layer}preprocess.op.0"),
            *step_rules(f"{ours}layers.{number}.{{s}}.", f"{layer}_ops.{{s}}."),
        ]
    return rules


def drsformer_mapping(network: DRSformer) -> Mapping:
    rules = [
        same("enter.{p}", "patch_embed.proj.{p}"),
        *block_rules("encoder.3.{i}.", "latent.{i}."),
        same("leave.{p}", "output.{p}"),
    ]
    if network.enter_experts is not None:
        rules += experts_rules("enter_experts.", "encoder_level0.", 1)
        rules += experts_rules("leave_experts.", "refinement.", 1)
    for level in range(3):
        near, far = level + 1, level + 2
        rules += [
            *block_rules(f"encoder.{level}.{{i}}.", f"encoder_level{near}.{{i}}."),
            *block_rules(f"decoder.{level}.{{i}}.", f"decoder_level{near}.{{i}}."),
            same(f"down.{level}.conv.{{p}}", f"down{near}_{far}.body.0.{{p}}"),
            same(f"up.{level}.conv.{{p}}", f"up{far}_{near}.body.0.{{p}}"),
        ]
    for level in (1, 2):
        rules += pointwise_rules(f"reduce.{level - 1}", f"reduce_chan_level{level + 1}")
    return Mapping(*rules)


DRSFORMER = {
    "DRSformer": Golden(drsformer, lambda facts: drsformer_mapping(drsformer(facts))),
    "TransformerBlock": Golden(block, Mapping(*block_rules("", "")), call_part),
    "Attention": Golden(attention, Mapping(*attention_rules("", "")), call_part),
    "FeedForward": Golden(feed, Mapping(*feed_rules("", "")), call_part),
    "subnet": Golden(experts, lambda facts: Mapping(*experts_rules("", "", facts.get("layer_num", 1))), call_part),
    "OperationLayer": Golden(
        lambda facts: ExpertStep(facts.config["C"]),
        Mapping(*step_rules("", "")),
        lambda run, inputs: run(inputs["x"].permute(0, 2, 3, 1), inputs["weights"]).permute(0, 3, 1, 2),
    ),
}
