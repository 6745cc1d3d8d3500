"""Golden files of the mixers for points: system -> official class -> how it is built, filled and called here.

condaformer  BasicBlock_Attention
roitr        LocalPPFTransformer, PPFTransformer

`VSFORMER` maps the set encoder of VSFormer's checkpoints into `ViewSetEncoder`.
"""

__all__ = ["GOLDENS", "VSFORMER"]

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.blocks import Block, PostNorm
from core.channels import MLP
from core.checkpoint import Mapping, Rule, derive, same
from core.layout import Ragged
from core.mixers.point_pair_attention import PointPairAttention
from core.mixers.point_pair_transformer import PointPairTransformer
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


# roitr


class _Projected(nn.Module):
    """A layer between two projections; how it is called differs."""

    def __init__(self, facts: Facts, inner: nn.Module) -> None:
        super().__init__()
        width = facts.config["hidden_dim"]
        self.enter, self.leave = (
            nn.Linear(facts.config["input_dim"], width),
            nn.Linear(width, facts.config["output_dim"]),
        )
        self.inner = inner


class _Local(_Projected):
    def __init__(self, facts: Facts) -> None:
        width, heads = facts.config["hidden_dim"], facts.config["num_heads"]
        super().__init__(facts, PostNorm(width, PointPairAttention(width, heads)))

    def forward(self, feats: Tensor, node_idx: Tensor, group_idx: Tensor, ppfs: Tensor) -> Tensor:
        x, block = self.enter(feats), self.inner
        assert isinstance(block, PostNorm) and isinstance(block.inner, PointPairAttention)
        attend = block.inner.attend
        return self.leave(block.around(x[node_idx], lambda nodes: attend(nodes, x, group_idx, ppfs)))


class _Global(_Projected):
    def __init__(self, facts: Facts) -> None:
        cross = [{"self": False, "cross": True}[name] for name in facts.config["blocks"]]
        embedding = facts.get("with_cross_pos_embed", False)
        width, heads = facts.config["hidden_dim"], facts.config["num_heads"]
        super().__init__(facts, PointPairTransformer(width, heads, cross, cross_embedding=embedding))

    def forward(self, ref_feats: Tensor, src_feats: Tensor, ref_ppfs: Tensor, src_ppfs: Tensor) -> list[Tensor]:
        assert isinstance(self.inner, PointPairTransformer)
        sets = self.inner.mix(self.enter(ref_feats)[None], ref_ppfs, self.enter(src_feats)[None], src_ppfs)
        return [self.leave(x[0]) for x in sets if x is not None]


def _projections(ours: str, theirs: str) -> list[Rule]:
    names = {"q": "q", "k": "k", "v": "v", "pair_key": "p", "pair_value": "vp"}
    names |= {"place_q": "pq", "place_k": "pk", "place_v": "vk"}
    return [same(f"{ours}{own}.{{p}}", f"{theirs}proj_{other}.{{p}}") for own, other in names.items()]


_ENDS = [same("enter.{p}", "in_proj.{p}"), same("leave.{p}", "out_proj.{p}")]
_OURS, _THEIRS = "inner.blocks.{i}.", "transformer.layers.{i}."

VSFORMER = Mapping(
    same("layers.{i}.norm.{p}", "encoder.sa_layers.{i}.sa.norm.{p}"),
    *(
        same(f"layers.{{i}}.attention.{n}.weight", f"encoder.sa_layers.{{i}}.sa.attention.{n}_proj.weight")
        for n in "qkv"
    ),
    same("layers.{i}.attention.out.{p}", "encoder.sa_layers.{i}.sa.attention.o_proj.{p}"),
    same("layers.{i}.feed_norm.{p}", "encoder.sa_layers.{i}.mlp.0.{p}"),
    same("layers.{i}.feed.enter.{p}", "encoder.sa_layers.{i}.mlp.1.{p}"),
    same("layers.{i}.feed.leave.{p}", "encoder.sa_layers.{i}.mlp.3.{p}"),
    ignore=["cls_head.{name*}"],
)

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
    "roitr": {
        "LocalPPFTransformer": Golden(
            _Local,
            Mapping(
                *_ENDS,
                *_projections("inner.inner.", "transformer.attention."),
                same("inner.inner.embed.{p}", "embedding.proj.{p}"),
                same("inner.inner.out.{p}", "transformer.linear.{p}"),
                same("inner.norm.{p}", "transformer.norm.{p}"),
            ),
        ),
        "PPFTransformer": Golden(
            _Global,
            Mapping(
                *_ENDS,
                *_projections(_OURS, f"{_THEIRS}attention.attention."),
                same("inner.embed.{p}", "embedding.proj.{p}"),
                same(f"{_OURS}out.{{p}}", f"{_THEIRS}attention.linear.{{p}}"),
                same(f"{_OURS}norm.{{p}}", f"{_THEIRS}attention.norm.{{p}}"),
                same(f"{_OURS}feed.enter.{{p}}", f"{_THEIRS}output.expand.{{p}}"),
                same(f"{_OURS}feed.leave.{{p}}", f"{_THEIRS}output.squeeze.{{p}}"),
                same(f"{_OURS}feed_norm.{{p}}", f"{_THEIRS}output.norm.{{p}}"),
            ),
        ),
    },
}
