"""Golden files of the mixers for points: system -> official class -> how it is built, filled and called here.

condaformer  BasicBlock_Attention
roitr        LocalPPFTransformer, PPFTransformer
"""

__all__ = ["GOLDENS"]

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.blocks import Block
from core.channels import MLP
from core.checkpoint import Mapping, Rule, derive, same
from core.layout import Ragged
from core.mixers.triplane_windows import TriPlaneWindowAttention
from core.verify import Facts, Golden

# condaformer


def _condaformer(facts: Facts) -> nn.Module:
    """The smallest coordinates of the batch, whose samples the goldens hold together."""
    dim = facts.config["dim"]
    mixer = TriPlaneWindowAttention(
        dim,
        dim // facts.get("head_dim", 16),
        facts.config["window_size"],
        quantum=facts.config["quant_size"],
        shifted=facts.get("shift", False),
        official=True,
    )
    hidden = int(dim * facts.get("mlp_ratio", 4.0))
    return Block(dim, mixer, MLP(dim, hidden), norm=partial(nn.LayerNorm, eps=1e-6))


def _half(ours: str, theirs: str) -> list[Rule]:
    """Convolutions before the attention or (`_post`) after it."""
    ours, one, three = f"mix.inner.{ours}.", f"attn.conv_1{theirs}.", f"attn.conv_3{theirs}."
    return [
        derive(f"{ours}point.weight", f"{one}0.weight", lambda weight: weight.flatten(1)),
        same(f"{ours}point_norm.{{p}}", f"{one}1.{{p}}"),
        derive(f"{ours}weight", f"{three}0.weight", lambda weight: weight[..., 0].movedim(0, -1)),
        same(f"{ours}norm.{{p}}", f"{three}1.{{p}}"),
        same(f"{ours}near.{{p}}", f"{three}3.{{p}}"),
        same(f"{ours}near_norm.{{p}}", f"{three}4.{{p}}"),
    ]


def _voxels(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    counts = torch.bincount(inputs["batch"])
    return run(Ragged(inputs["x"], F.pad(counts.cumsum(0), (1, 0)), inputs["xyz"])).tokens


GOLDENS: dict[str, dict[str, Golden]] = {
    "condaformer": {
        "BasicBlock_Attention": Golden(
            _condaformer,
            Mapping(
                same("mix.norm.{p}", "norm1.{p}"),
                *_half("before", ""),
                *_half("after", "_post"),
                same("mix.inner.qkv.{p}", "attn.qkv.{p}"),
                same("mix.inner.out.{p}", "attn.proj.{p}"),
                same("mix.inner.{t}_table", "attn.{t}_table"),
                same("feed.norm.{p}", "norm2.{p}"),
                same("feed.inner.enter.{p}", "mlp.fc1.{p}"),
                same("feed.inner.leave.{p}", "mlp.fc2.{p}"),
            ),
            _voxels,
        ),
    },
}
