"""PatchTST under its official names and calling conventions: the backbone takes (batch, variates, time)."""

__all__ = ["PATCHTST"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from apps.timeseries.models import positions
from apps.timeseries.models.goldens_itransformer import within
from apps.timeseries.models.patchtsmixer_layers import TokenBatchNorm
from apps.timeseries.models.patchtst import PatchTST
from apps.timeseries.models.patchtst_layers import EncoderLayer, ResidualAttention
from apps.timeseries.models.patchtst_release import attention_rules, branch_rules, layer_rules, release_mapping
from core.checkpoint import Mapping
from core.verify import Facts, Golden

STARTS = {
    None: positions.small_uniform,
    "zeros": positions.small_uniform,
    "sincos": positions.sinusoidal,
    "lin2d": positions.sinusoidal,
    "exp2d": positions.sinusoidal,
}
COLUMNS = {
    "zero": positions.small_uniform_column,
    "normal": positions.normal_column,
    "gauss": positions.normal_column,
    "uniform": positions.uniform_column,
    "lin1d": positions.linear_column,
    "exp1d": positions.root_column,
}


def activation(facts: Facts, name: str) -> type[nn.Module]:
    return nn.ReLU if str(facts.get(name, "gelu")).lower() == "relu" else nn.GELU


def network(facts: Facts, sizes: dict[str, Any]) -> PatchTST:
    """`PatchTST_backbone` and the full model have most of their arguments in common."""
    kind = facts.get("pe", "zeros")
    return PatchTST(
        **sizes,
        patch_length=facts.get("patch_len", 16),
        stride=facts.get("stride", 8),
        dim=facts.get("d_model", 128),
        heads=facts.get("n_heads", 16),
        hidden=facts.get("d_ff", 256),
        dropout=0.0,
        activation=activation(facts, "act"),
        key_dim=facts.get("d_k", None),
        value_dim=facts.get("d_v", None),
        residual_scores=facts.get("res_attention", True),
        pre_norm=facts.get("pre_norm", False),
        position=COLUMNS.get(kind) or STARTS[kind],
        learn_position=facts.get("learn_pe", True) and kind is not None,
        pad_end=facts.get("padding_patch", None) == "end",
        drop_newest=True,
        individual=bool(facts.get("individual", False)),
        normalize=bool(facts.get("revin", True)),
        affine=bool(facts.get("affine", True)),
        subtract_last=bool(facts.get("subtract_last", False)),
    )


def backbone(facts: Facts) -> nn.Module:
    return network(
        facts,
        {
            "context_length": facts.config["context_window"],
            "prediction_length": facts.config["target_window"],
            "target_dim": facts.config["c_in"],
            "depth": facts.get("n_layers", 3),
        },
    )


def model(facts: Facts) -> nn.Module:
    return network(
        facts,
        {
            "context_length": facts.get("seq_len", 96),
            "prediction_length": facts.get("pred_len", 96),
            "target_dim": facts.get("enc_in", next(iter(facts.inputs.values())).shape[-1]),
            "depth": facts.get("e_layers", 2),
            "kernel": facts.get("kernel_size", 25) if facts.get("decomposition", False) else None,
        },
    )


def transposed(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    (z,) = inputs.values()
    return run(z.transpose(1, 2)).transpose(1, 2)


def added(scores: Tensor | None, attn_mask: Tensor | None, key_padding_mask: Tensor | None) -> Tensor | None:
    """The release's masks as what they are there: something added to the scores, and handed on with them."""
    for mask in (attn_mask, None if key_padding_mask is None else key_padding_mask[:, None, None]):
        if mask is None:
            continue
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape).masked_fill(mask, -torch.inf)
        scores = mask if scores is None else scores + mask
    return scores


class AttentionWithWeights(nn.Module):
    """`_MultiheadAttention`, which returns its weights too."""

    def __init__(self, facts: Facts):
        super().__init__()
        c = facts.config
        self.attention = ResidualAttention(
            c["d_model"], c["n_heads"], c.get("d_k"), c.get("d_v"), bias=c.get("qkv_bias", True)
        )

    def forward(
        self,
        Q: Tensor,
        prev: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        out, scores = self.attention(Q, added(prev, attn_mask, key_padding_mask))
        return {"out": out, "attn": scores.softmax(-1), "scores": scores}


class Layer(nn.Module):
    """`TSTEncoderLayer`."""

    def __init__(self, facts: Facts):
        super().__init__()
        c = facts.config
        self.layer = EncoderLayer(
            ResidualAttention(c["d_model"], c["n_heads"], c.get("d_k"), c.get("d_v")),
            c["d_model"],
            c.get("d_ff", 256),
            0.0,
            activation(facts, "activation"),
            TokenBatchNorm if "batch" in c.get("norm", "BatchNorm").lower() else nn.LayerNorm,
            c.get("pre_norm", False),
            bias=c.get("bias", True),
        )
        self.residual = c.get("res_attention", False)

    def forward(
        self,
        src: Tensor,
        prev: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        return self.layer(src, added(prev if self.residual else None, attn_mask, key_padding_mask))


def named(run: Callable, inputs: dict[str, Tensor]) -> Any:
    return run(**inputs)


PATCHTST = {
    "PatchTST_backbone": Golden(backbone, Mapping(*branch_rules("branches.0.", "")), transposed),
    "Model": Golden(model, lambda facts: release_mapping(bool(facts.get("decomposition", False)))),
    "TSTEncoderLayer": Golden(Layer, within("layer.", Mapping(*layer_rules("", ""))), named),
    "_MultiheadAttention": Golden(AttentionWithWeights, within("attention.", Mapping(*attention_rules("", ""))), named),
}
