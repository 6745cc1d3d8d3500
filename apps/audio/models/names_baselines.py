"""Names of the weights of other releases, and ours: torchaudio's Conv-TasNet, SpeechBrain's dual-path networks."""

__all__ = [
    "DPRNN_SPEECHBRAIN",
    "SEPFORMER_SPEECHBRAIN",
    "TORCHAUDIO",
    "dual_path_rules",
    "lstm_rules",
    "transformer_rules",
]

from collections.abc import Callable

import torch
from torch import Tensor

from core.checkpoint import Mapping, Rule, cat, derive, same


def _flat(*weights: Tensor) -> Tensor:
    """Convolutions of kernel 1 as one linear layer."""
    return torch.cat(weights).flatten(1)


def convolution_rules(ours: str, theirs: str) -> list[Rule]:
    """A layer of Conv-TasNet; the last one has no residual."""
    inner, ends = f"{theirs}conv_layers.", (f"{theirs}skip_out.", f"{theirs}res_out.")
    return [
        derive(f"{ours}enter.weight", f"{inner}0.weight", _flat),
        same(f"{ours}enter.bias", f"{inner}0.bias"),
        same(f"{ours}slope", f"{inner}1.weight"),
        same(f"{ours}norm.{{p}}", f"{inner}2.{{p}}"),
        same(f"{ours}conv", f"{inner}3.weight"),
        same(f"{ours}conv_bias", f"{inner}3.bias"),
        same(f"{ours}conv_slope", f"{inner}4.weight"),
        same(f"{ours}conv_norm.{{p}}", f"{inner}5.{{p}}"),
        derive(f"{ours}leave.weight", [f"{end}weight" for end in ends], _flat),
        cat(f"{ours}leave.bias", *(f"{end}bias" for end in ends)),
    ]


TORCHAUDIO = Mapping(
    derive("encoder", "encoder.weight", lambda w: w[:, 0]),
    same("masks.norm.{p}", "mask_generator.input_norm.{p}"),
    derive("masks.enter.weight", "mask_generator.input_conv.weight", _flat),
    same("masks.enter.bias", "mask_generator.input_conv.bias"),
    *convolution_rules("masks.layers.{i}.", "mask_generator.conv_layers.{i}."),
    same("masks.slope", "mask_generator.output_prelu.weight"),
    derive("masks.leave.weight", "mask_generator.output_conv.weight", _flat),
    same("masks.leave.bias", "mask_generator.output_conv.bias"),
    derive("decoder", "decoder.weight", lambda w: w[:, 0]),
)


# SpeechBrain


def lstm_rules(ours: str, theirs: str, side: str) -> list[Rule]:
    """`side` is intra or inter; the linear layer stands beside the LSTM there."""
    return [
        same(f"{ours}{side}.lstm.{{p}}", f"{theirs}{side}_mdl.mdl.rnn.{{p}}"),
        same(f"{ours}{side}.leave.{{p}}", f"{theirs}{side}_linear.w.{{p}}"),
    ]


def _third(number: int) -> Callable[[Tensor], Tensor]:
    return lambda fused: fused.chunk(3)[number]


def transformer_rules(ours: str, theirs: str, side: str) -> list[Rule]:
    stack, layer = f"{ours}{side}.stack.", f"{theirs}{side}_mdl.mdl.layers.{{n}}."
    block, attention = f"{stack}blocks.{{n}}.", f"{layer}self_att.att."
    return [
        *(
            derive(f"{block}mix.inner.{name}.{p}", f"{attention}in_proj_{p}", _third(number))
            for number, name in enumerate("qkv")
            for p in ("weight", "bias")
        ),
        same(f"{block}mix.inner.out.{{p}}", f"{attention}out_proj.{{p}}"),
        same(f"{block}mix.norm.{{p}}", f"{layer}norm1.norm.{{p}}"),
        same(f"{block}feed.norm.{{p}}", f"{layer}norm2.norm.{{p}}"),
        same(f"{block}feed.inner.enter.{{p}}", f"{layer}pos_ffn.ffn.0.{{p}}"),
        same(f"{block}feed.inner.leave.{{p}}", f"{layer}pos_ffn.ffn.3.{{p}}"),
        same(f"{stack}norm.{{p}}", f"{theirs}{side}_mdl.mdl.norm.norm.{{p}}"),
    ]


Mixers = Callable[[str, str, str], list[Rule]]


def dual_path_rules(ours: str, theirs: str, mixers: Mixers) -> list[Rule]:
    """The mask network."""
    block, source = f"{ours}blocks.{{i}}.", f"{theirs}dual_mdl.{{i}}."
    gates = (f"{theirs}output.0.", f"{theirs}output_gate.0.")
    return [
        same(f"{ours}norm.{{p}}", f"{theirs}norm.{{p}}"),
        derive(f"{ours}enter.weight", f"{theirs}conv1d.weight", _flat),
        *(rule for side in ("intra", "inter") for rule in mixers(block, source, side)),
        *(same(f"{block}{side}_norm.{{p}}", f"{source}{side}_norm.{{p}}") for side in ("intra", "inter")),
        same(f"{ours}slope", f"{theirs}prelu.weight"),
        derive(f"{ours}split.weight", f"{theirs}conv2d.weight", _flat),
        same(f"{ours}split.bias", f"{theirs}conv2d.bias"),
        derive(f"{ours}gates.weight", [f"{gate}weight" for gate in gates], _flat),
        cat(f"{ours}gates.bias", *(f"{gate}bias" for gate in gates)),
        derive(f"{ours}leave.weight", f"{theirs}end_conv1x1.weight", _flat),
    ]


def _network(mixers: Mixers) -> Mapping:
    return Mapping(
        derive("encoder", "encoder.conv1d.weight", lambda w: w[:, 0]),
        *dual_path_rules("masks.", "masknet.", mixers),
        derive("decoder", "decoder.weight", lambda w: w[:, 0]),
        ignore=("{any*}.pos_enc.pe",),
    )


DPRNN_SPEECHBRAIN = _network(lstm_rules)
SEPFORMER_SPEECHBRAIN = _network(transformer_rules)
