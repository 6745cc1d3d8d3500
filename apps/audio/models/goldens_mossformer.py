"""MossFormer and MossFormer2 under the names and calling conventions of their releases, for `omnimix verify`.

Whole networks, mask networks, stacks, layers and their parts; the names of weights are in `names_mossformer`.
"""

__all__ = ["MOSSFORMER", "MOSSFORMER2"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from apps.audio.models.layers import MossFormer2Layer
from apps.audio.models.mossformer import MossFormer, MossFormer2
from apps.audio.models.names_mossformer import (
    CLEARERVOICE,
    MODELSCOPE,
    REBUILT,
    STANDALONE,
    attention_rules,
    feed_rules,
    layer_rules,
    mask_rules,
    memory_rules,
    recurrent_rules,
    taps,
)
from apps.audio.models.waveform import MaskNetwork, positions
from core.checkpoint import Mapping, derive, same
from core.mixers import ConvFeedForward, DilatedMemory, GatedMemory, JointAttention, PlainMemory
from core.norms import FoldedLayerNorm, FrameBatchNorm, FrameNorm, GlobalNorm, ScaleNorm
from core.ops.joint_attention import joint_attention, offset_rotate, turns
from core.verify import Facts, Golden

_NORMS = {"ln": GlobalNorm, "gln": GlobalNorm, "cln": FrameNorm}


def _norm_of(facts: Facts, key: str = "norm") -> Callable[[int], nn.Module]:
    """The releases take BatchNorm for any name they do not know."""
    return _NORMS.get(facts.get(key, "ln"), FrameBatchNorm)


# MossFormer


def _attention_arguments(facts: Facts) -> dict[str, Any]:
    dim = facts.get("dim", facts.get("d_model", 512))
    return {
        "hidden": int(dim * facts.get("expansion_factor", 4.0)),
        "key_dim": facts.get("query_key_dim", 128),
        "group": facts.get("group_size", 256),
        "dropout": 0.0,
    }


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def _block(facts: Facts) -> nn.Module:
    return _Residual(
        JointAttention(
            facts.config["dim"],
            **_attention_arguments(facts),
            shift=facts.get("shift_tokens", True),
            norm=ScaleNorm if facts.get("norm", "scalenorm") == "scalenorm" else FoldedLayerNorm,
            causal=facts.get("causal", False),
            official=True,
        )
    )


def _mossformer(facts: Facts) -> MossFormer:
    return MossFormer(
        facts.get("d_model", 512),
        facts.get("num_blocks", 24),
        speakers=facts.get("num_spks", 2),
        channels=facts.get("in_channels", 512),
        kernel=facts.get("kernel_size", 16),
        stride=facts.get("stride", 8),
        norm=_norm_of(facts),
        causal=facts.get("causal", False),
        official=True,
        **_attention_arguments(facts),
    )


def call_masks(run: Any, inputs: dict[str, Tensor]) -> Tensor:
    """(B, C, T) in, (S, B, C, T) out."""
    return run(inputs["x"].mT).permute(2, 0, 3, 1)


def call_last(run: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Speakers in the last axis."""
    return run(*inputs.values()).mT


BLOCK = Golden(_block, Mapping(*attention_rules("inner.", ""), ignore=REBUILT))

MOSSFORMER = {
    "MossFormer": Golden(_mossformer, MODELSCOPE, call_last),
    "MossFormerMaskNet": Golden(
        lambda facts: _mossformer(facts).masks,
        Mapping(*mask_rules("", "", "modelscope"), ignore=REBUILT),
        call_masks,
    ),
    "MossFormerBlock": BLOCK,
}

# MossFormer2


def _mossformer2(facts: Facts) -> MossFormer2:
    """Standalone release: sizes by the names of its configurations."""
    return MossFormer2(
        facts.get("encoder_out_nchannels", 512),
        facts.get("intra_numlayers", 24),
        speakers=facts.get("masknet_numspks", 2),
        kernel=facts.get("encoder_kernel_size", 16),
        norm=_norm_of(facts, "masknet_norm"),
        mapping=facts.get("config_name", "") == "mossformer2-whamr-2spk",
        official=True,
        dropout=0.0,
    )


def _clearervoice(facts: Facts) -> MossFormer2:
    return MossFormer2(
        facts.get("mossformer_sequence_dim", 512),
        facts.get("num_mossformer_layer", 24),
        speakers=facts.get("num_spks", 2),
        channels=facts.get("encoder_embedding_dim", 512),
        kernel=facts.get("encoder_kernel_size", 16),
        official=True,
        dropout=0.0,
    )


def _whole_masks(facts: Facts) -> MaskNetwork:
    channels = facts.config["channels"]
    return MossFormer2(
        channels,
        facts.config["layers"],
        speakers=facts.get("num_spks", 2),
        key_dim=facts.get("query_key_dim", 128),
        group=facts.get("group_size", 256),
        inner=facts.get("inner_channels", 256),
        dropout=0.0,
    ).masks


class _Layers(nn.Module):
    """Layers one after the other, without the norms around them."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def _stack(facts: Facts) -> nn.Module:
    arguments = _attention_arguments(facts) | {"inner": facts.get("inner_channels", 256)}
    return _Layers([MossFormer2Layer(facts.config["dim"], **arguments) for _ in range(facts.config["depth"])])


def _recurrent(facts: Facts) -> nn.Module:
    return _Residual(GatedMemory(facts.config["dim"], inner=facts.get("inner_channels", 256)))


def _memory(facts: Facts) -> nn.Module:
    return DilatedMemory(
        facts.config["input_dim"],
        hidden=facts.config["hidden_size"],
        order=facts.config["lorder"],
        depth=facts.get("depth", 2),
    )


def _plain_memory(facts: Facts) -> nn.Module:
    return PlainMemory(facts.config["input_dim"], hidden=facts.config["hidden_size"], order=facts.config["lorder"])


def _feed(facts: Facts) -> nn.Module:
    norm = {"ScaleNorm": ScaleNorm, "LayerNorm": FoldedLayerNorm}[facts.get("norm", "LayerNorm")]
    return ConvFeedForward(facts.config["dim_in"], facts.config["dim_out"], norm=norm)


def _attend(facts: Facts) -> Callable[..., dict[str, Tensor]]:
    def run(**inputs: Tensor) -> dict[str, Tensor]:
        projections = torch.stack([inputs[name] for name in ("quad_q", "lin_q", "quad_k", "lin_k")], 2)
        if facts.get("rotary", True):
            channels = min(32, projections.shape[-1])
            turn = turns(projections.shape[1], channels, like=projections)
            # Copies of nothing but what is there: one scale of 1 a projection.
            ones = torch.ones_like(projections[0, 0, :1])
            parts = [offset_rotate(part, ones, 0 * ones, turn) for part in projections.unbind(2)]
            projections = torch.cat(parts, 2)
        values = torch.cat([inputs["v"], inputs["u"]], -1)
        mixed = joint_attention(projections, values, facts.config["group_size"], causal=facts.get("causal", False))
        return dict(zip(("att_v", "att_u"), mixed.chunk(2, -1), strict=True))

    return run


class _Copies(nn.Module):
    """Offset and scale alone."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.scale, self.offset = nn.Parameter(torch.ones(heads, dim)), nn.Parameter(torch.zeros(heads, dim))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return offset_rotate(x, self.scale, self.offset, turns(x.shape[1], 0, like=x)).unbind(-2)


class _Positions(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim, self.scale = dim, nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * positions(x.shape[1], self.dim, x)


MOSSFORMER2 = {
    "Mossformer2Wrapper": Golden(_mossformer2, STANDALONE, call_last),
    "MossFormer": Golden(_clearervoice, CLEARERVOICE, lambda run, inputs: run(*inputs.values()).unbind(1)),
    "Dual_Path_Model": Golden(_whole_masks, Mapping(*mask_rules("", "", "standalone"), ignore=REBUILT), call_masks),
    "FLASHTransformer_DualA_FSMN": Golden(_stack, Mapping(*layer_rules("", ""), ignore=REBUILT)),
    "FLASH_ShareA_FFConvM": BLOCK,
    "FLASH_ShareA_FFConvM.cal_attention": Golden(_attend, call=lambda run, inputs: run(**inputs)),
    "Gated_FSMN_Block_Dilated": Golden(_recurrent, Mapping(*recurrent_rules("inner.", ""))),
    "UniDeepFsmn_dilated": Golden(_memory, lambda facts: Mapping(*memory_rules("", "", facts.get("depth", 2)))),
    "UniDeepFsmn": Golden(
        _plain_memory,
        Mapping(
            same("enter.{p}", "linear.{p}"),
            same("leave.weight", "project.weight"),
            derive("conv", "conv1.weight", taps),
        ),
    ),
    "FFConvM": Golden(_feed, Mapping(*feed_rules("", ""))),
    "OffsetScale": Golden(
        lambda facts: _Copies(facts.config["dim"], facts.get("heads", 1)),
        Mapping(same("scale", "gamma"), same("offset", "beta")),
    ),
    "ScaledSinuEmbedding": Golden(
        lambda facts: _Positions(facts.config["dim"]), Mapping(same("scale", "scale"), ignore=["inv_freq"])
    ),
}
