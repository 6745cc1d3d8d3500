"""Names of the releases of MossFormer and MossFormer2, and ours.

Three key schemes: alibabasglab/MossFormer2 (`dual_mdl.0.intra_mdl.mdl.flashT`), ClearerVoice-Studio
(`mdl.intra_mdl.mossformerM`) and modelscope's MossFormer (`mdl.att_mdl.mossformerM`).  What all three call layers and
heads is the same.
"""

__all__ = [
    "CLEARERVOICE",
    "MODELSCOPE",
    "REBUILT",
    "STANDALONE",
    "attention_rules",
    "feed_rules",
    "layer_rules",
    "mask_rules",
    "memory_rules",
    "mossformer2_mapping",
    "recurrent_rules",
    "taps",
]

from collections.abc import Iterable

import torch
from torch import Tensor

from core.checkpoint import Mapping, Rule, cat, derive, same

# Where a scheme keeps the stack, the norm behind it and the norm of the residual, inside its mask network.
SCHEMES = {
    "standalone": ("dual_mdl.0.intra_mdl.mdl.flashT.", "dual_mdl.0.intra_mdl.mdl.norm.norm.", "dual_mdl.0.intra_norm."),
    "clearervoice": ("mdl.intra_mdl.mossformerM.", "mdl.intra_mdl.norm.", "mdl.intra_norm."),
    "modelscope": ("mdl.att_mdl.mossformerM.", "mdl.att_mdl.norm.norm.", "mdl.att_norm."),
}
# Tables that are computed here.
REBUILT = (
    "rotary_pos_emb.freqs",
    "{any*}.rotary_pos_emb.freqs",
    "inv_freq",
    "{any*}.inv_freq",
    "{any*}.num_batches_tracked",
)


def _flat(weight: Tensor) -> Tensor:
    """A convolution of kernel 1 as a linear layer, a weight (C, 1) as (C,)."""
    return weight[..., 0]


def taps(weight: Tensor) -> Tensor:
    """Kernels (C, k, taps, 1) of groups as those of k C channels."""
    return weight[..., 0].flatten(0, 1)[:, None]


def feed_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        same(f"{ours}norm.weight", f"{theirs}mdl.0.g"),
        same(f"{ours}norm.weight", f"{theirs}mdl.0.weight"),
        same(f"{ours}norm.bias", f"{theirs}mdl.0.bias"),
        same(f"{ours}linear.{{p}}", f"{theirs}mdl.1.{{p}}"),
        same(f"{ours}conv", f"{theirs}mdl.3.sequential.1.conv.weight"),
    ]


def attention_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        *feed_rules(f"{ours}values.", f"{theirs}to_hidden."),
        *feed_rules(f"{ours}keys.", f"{theirs}to_qk."),
        *feed_rules(f"{ours}out.", f"{theirs}to_out."),
        same(f"{ours}scale", f"{theirs}qk_offset_scale.gamma"),
        same(f"{ours}offset", f"{theirs}qk_offset_scale.beta"),
    ]


def memory_rules(ours: str, theirs: str, depth: int = 2) -> list[Rule]:
    def stacked(name: str, source: str) -> Rule:
        sources = [f"{theirs}conv.{source.format(number)}" for number in range(1, depth + 1)]
        return derive(f"{ours}{name}", sources, lambda *parts: torch.stack(parts))

    return [
        same(f"{ours}enter.{{p}}", f"{theirs}linear.{{p}}"),
        same(f"{ours}leave.weight", f"{theirs}project.weight"),
        *(derive(f"{ours}convs.{i}", f"{theirs}conv.conv{i + 1}.weight", taps) for i in range(depth)),
        stacked("weights", "norm{}.weight"),
        stacked("biases", "norm{}.bias"),
        stacked("slopes", "prelu{}.weight"),
    ]


def recurrent_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        derive(f"{ours}enter.weight", f"{theirs}conv1.0.weight", _flat),
        same(f"{ours}enter.bias", f"{theirs}conv1.0.bias"),
        same(f"{ours}slope", f"{theirs}conv1.1.weight"),
        same(f"{ours}norm.{{p}}", f"{theirs}norm1.{{p}}"),
        *feed_rules(f"{ours}to_memory.", f"{theirs}gated_fsmn.to_u."),
        *feed_rules(f"{ours}to_gate.", f"{theirs}gated_fsmn.to_v."),
        *memory_rules(f"{ours}memory.", f"{theirs}gated_fsmn.fsmn."),
        same(f"{ours}last_norm.{{p}}", f"{theirs}norm2.{{p}}"),
        derive(f"{ours}leave.weight", f"{theirs}conv2.weight", _flat),
        same(f"{ours}leave.bias", f"{theirs}conv2.bias"),
    ]


def layer_rules(ours: str, theirs: str) -> list[Rule]:
    """Attention, and the memories of MossFormer2 where there are some."""
    return [
        *attention_rules(f"{ours}layers.{{i}}.attention.", f"{theirs}layers.{{i}}."),
        *recurrent_rules(f"{ours}layers.{{i}}.memory.", f"{theirs}fsmn.{{i}}."),
    ]


def mask_rules(ours: str, theirs: str, scheme: str) -> list[Rule]:
    stack, norm, residual = SCHEMES[scheme]
    column = [
        derive(f"{ours}{name}.{p}", f"{theirs}{source}{p}", lambda w: w.flatten())
        for name, source in (("norm", "norm."), ("separator.norm", residual))
        for p in ("weight", "bias", "running_mean", "running_var")
    ]
    return [
        *column,
        derive(f"{ours}enter.weight", f"{theirs}conv1d_encoder.weight", _flat),
        same(f"{ours}position_scale", f"{theirs}pos_enc.scale"),
        *layer_rules(f"{ours}separator.", f"{theirs}{stack}"),
        same(f"{ours}separator.frame_norm.{{p}}", f"{theirs}{norm}{{p}}"),
        same(f"{ours}slope", f"{theirs}prelu.weight"),
        derive(f"{ours}split.weight", f"{theirs}conv1d_out.weight", _flat),
        same(f"{ours}split.bias", f"{theirs}conv1d_out.bias"),
        derive(
            f"{ours}gates.weight",
            (f"{theirs}output.0.weight", f"{theirs}output_gate.0.weight"),
            lambda *parts: _flat(torch.cat(parts)),
        ),
        cat(f"{ours}gates.bias", f"{theirs}output.0.bias", f"{theirs}output_gate.0.bias"),
        derive(f"{ours}leave.weight", f"{theirs}conv1_decoder.weight", _flat),
    ]


def _network(encoder: str, net: str, decoder: str, scheme: str) -> Mapping:
    return Mapping(
        derive("encoder", f"{encoder}conv1d.weight", lambda w: w[:, 0]),
        *mask_rules("masks.", net, scheme),
        derive("decoder", f"{decoder}weight", lambda w: w[:, 0]),
        ignore=REBUILT,
    )


STANDALONE = _network("encoder.", "masknet.", "decoder.", "standalone")
CLEARERVOICE = _network("enc.", "mask_net.", "dec.", "clearervoice")
MODELSCOPE = _network("encoder.", "mask_net.", "decoder.", "modelscope")


def mossformer2_mapping(names: Iterable[str]) -> Mapping:
    """The scheme of a release of MossFormer2, told by its names."""
    return CLEARERVOICE if any(name.startswith("mask_net.") for name in names) else STANDALONE
