"""State dicts of the PatchTST release (yuqinie98/PatchTST 204c21e, supervised) into `PatchTST`.

The release flattens tokens width first, ours patch first; one Linear per channel (`individual`) is one tensor here.
"""

__all__ = ["branch_rules", "layer_rules", "release_mapping"]

import torch
from torch import Tensor

from core.checkpoint import Mapping, Rule, cat, derive, same


def layer_rules(ours: str, theirs: str) -> list[Rule]:
    """`TSTEncoderLayer`, with either norm."""
    return [
        *attention_rules(f"{ours}attention.", f"{theirs}self_attn."),
        same(f"{ours}expand.{{p}}", f"{theirs}ff.0.{{p}}"),
        same(f"{ours}contract.{{p}}", f"{theirs}ff.3.{{p}}"),
        *(
            same(f"{ours}{own}.{{p}}", f"{theirs}{other}.{{p}}")
            for own, norm in (("norm1", "norm_attn"), ("norm2", "norm_ffn"))
            for other in (norm, f"{norm}.1")
        ),
    ]


def attention_rules(ours: str, theirs: str) -> list[Rule]:
    """`_MultiheadAttention`."""
    return [
        cat(f"{ours}qkv.{{p}}", *(f"{theirs}W_{part}.{{p}}" for part in "QKV")),
        same(f"{ours}out.{{p}}", f"{theirs}to_out.0.{{p}}"),
        same(f"{ours}scale", f"{theirs}sdp_attn.scale"),
    ]


def head_weight(*tensors: Tensor) -> Tensor:
    """Weights (one or one per channel), then the patch embedding for its width."""
    *weights, embedding = tensors
    return torch.stack([w.unflatten(1, (embedding.shape[0], -1)).mT.flatten(1) for w in weights])


def branch_rules(ours: str, theirs: str) -> list[Rule]:
    """`PatchTST_backbone`."""
    embedding = f"{theirs}backbone.W_P.weight"
    rules = []
    for linear in ("head.linear", "head.linears.{*}"):
        rules.append(derive(f"{ours}forecast.weight", [f"{theirs}{linear}.weight", embedding], head_weight))
        rules.append(derive(f"{ours}forecast.bias", f"{theirs}{linear}.bias", lambda *biases: torch.stack(biases)))
    return [
        same(f"{ours}normalize.{{p}}", f"{theirs}revin_layer.affine_{{p}}"),
        same(f"{ours}embedding.patch.{{p}}", f"{theirs}backbone.W_P.{{p}}"),
        same(f"{ours}embedding.position.table", f"{theirs}backbone.W_pos"),
        *layer_rules(f"{ours}layers.{{i}}.", f"{theirs}backbone.encoder.layers.{{i}}."),
        *rules,
    ]


def release_mapping(decomposed: bool = False) -> Mapping:
    """The release's full model.

    Args:
        decomposed: with `decomposition`, the networks of rest and trend.
    """
    branches = ("model_res.", "model_trend.") if decomposed else ("model.",)
    return Mapping(*(rule for n, name in enumerate(branches) for rule in branch_rules(f"branches.{n}.", name)))
