"""Golden files of the core's mixers and ops: system -> official class -> how it is built, filled and called here.

linear_attention  fla's naive_recurrent_linear_attn (features elu + 1 before the op, scale d^-1/2)
metaformer        Pooling, Attention
swin              WindowAttention, SwinTransformerBlock, BasicLayer of the dense-prediction code

Those for points stand in `core.mixers.goldens_points`, Mamba's in `core.mixers.goldens_mamba`.
"""

__all__ = ["GOLDENS"]

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from core.blocks import Block, PreNorm, Stack
from core.channels import MLP
from core.checkpoint import Mapping, Rule, derive, same
from core.mixers.attention import Attention
from core.mixers.goldens_mamba import GOLDENS as MAMBA
from core.mixers.goldens_points import GOLDENS as POINTS
from core.mixers.linear_attention import elu_plus_one
from core.mixers.pooling import Pooling
from core.mixers.window import WindowAttention
from core.ops.attend import attend
from core.ops.linear import causal_linear_attention
from core.partitions import Whole
from core.verify import Facts, Golden


def _third(number: int) -> Callable[[Tensor], Tensor]:
    return lambda fused: fused.chunk(3)[number]


def _qkv(target: str, source: str) -> list[Rule]:
    """The fused projection of a release into ours."""
    return [derive(f"{target}{name}.{{p}}", f"{source}qkv.{{p}}", _third(i)) for i, name in enumerate("qkv")]


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


# linear_attention: an op without weights.


def _linear(facts: Facts) -> Callable[..., Tensor]:
    normalise = facts.get("normalize", False)
    if facts.get("feature_map", "elu+1") != "elu+1":
        raise ValueError(f"feature_map {facts.config['feature_map']!r} of linear attention is not known here")

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (t.transpose(1, 2) for t in (elu_plus_one(q) * q.shape[-1] ** -0.5, elu_plus_one(k), v))
        return causal_linear_attention(q, k, v, normalise=normalise, eps=1e-10)[0].transpose(1, 2)

    return run


def _by_name(run: Callable[..., Tensor], inputs: dict[str, Tensor]) -> Tensor:
    return run(**inputs)


# metaformer


def _attention(facts: Facts) -> nn.Module:
    dim, head_dim = facts.config["dim"], facts.get("head_dim", 32)
    heads = facts.get("num_heads", None) or max(dim // head_dim, 1)
    return Attention(
        dim, heads, head_dim=head_dim, bias=facts.get("qkv_bias", False), out_bias=facts.get("proj_bias", False)
    )


def _pooling(facts: Facts) -> nn.Module:
    size = facts.get("pool_size", 3)
    return Pooling(next(iter(facts.inputs.values())).shape[-1], (size, size))


# swin


class _Windows(nn.Module):
    """The release's attention of windows that are cut already, with an additive mask a window."""

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        config = facts.config
        self.window = _pair(config["window_size"])
        mixer = WindowAttention(
            config["dim"],
            config["num_heads"],
            self.window,
            bias=facts.get("qkv_bias", True),
            scale=facts.get("qk_scale", None),
        )
        self.own = mixer.groups

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        own, score_bias = self.own, self.own.score_bias
        assert score_bias is not None
        bias = score_bias(Whole().plan(self.window).buckets[0].pairs)
        if mask is not None:
            bias = bias + mask[:, None]
        # Windows run fastest in the batch: (B, windows, heads, N, d), one table a window.
        windows = x.unflatten(0, (-1, len(bias)))
        q, k, v = (p(windows).unflatten(-1, (own.heads, -1)).transpose(2, 3) for p in (own.q, own.k, own.v))
        y = attend(q, k, v, bias=bias, scale=own.scale).transpose(2, 3)
        return own.out(y.flatten(0, 1).flatten(-2))


def _swin_block(config: dict[str, Any], shift: int, official: bool) -> Block:
    dim, heads, window = config["dim"], config["num_heads"], config.get("window_size", 7)
    mixer = WindowAttention(
        dim,
        heads,
        _pair(window),
        shift=_pair(shift),
        bias=config.get("qkv_bias", True),
        scale=config.get("qk_scale"),
        official=official,
    )
    return Block(dim, mixer, MLP(dim, int(dim * config.get("mlp_ratio", 4.0))), residual=PreNorm)


def _classification_block(facts: Facts) -> nn.Module:
    """The window shrinks to a map that is no larger, and nothing is shifted then."""
    config = dict(facts.config)
    window, shift = config.get("window_size", 7), config.get("shift_size", 0)
    smallest = min(_pair(config["input_resolution"]))
    if smallest <= window:
        window, shift = smallest, 0
    return _swin_block({**config, "window_size": window}, shift, official=False)


def _dense_layer(facts: Facts) -> nn.Module:
    config = facts.config
    half = config.get("window_size", 7) // 2
    return Stack([_swin_block(config, half if i % 2 else 0, official=True) for i in range(config["depth"])])


def _swin_rules(ours: str = "", theirs: str = "") -> Mapping:
    return Mapping(
        same(f"{ours}mix.norm.{{p}}", f"{theirs}norm1.{{p}}"),
        *_qkv(f"{ours}mix.inner.groups.", f"{theirs}attn."),
        same(f"{ours}mix.inner.groups.out.{{p}}", f"{theirs}attn.proj.{{p}}"),
        same(f"{ours}mix.inner.groups.score_bias.table", f"{theirs}attn.relative_position_bias_table"),
        same(f"{ours}feed.norm.{{p}}", f"{theirs}norm2.{{p}}"),
        same(f"{ours}feed.inner.enter.{{p}}", f"{theirs}mlp.fc1.{{p}}"),
        same(f"{ours}feed.inner.leave.{{p}}", f"{theirs}mlp.fc2.{{p}}"),
        ignore=[f"{theirs}attn.relative_position_index", f"{theirs}attn_mask"],
    )


def _on_map(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    """Flat tokens (B, H W, C) of the release as a map, and back."""
    module = run.module  # type: ignore[attr-defined]
    return run(inputs["x"].unflatten(1, module.size)).flatten(1, 2)


def _sized(build: Callable[[Facts], nn.Module], size: Callable[[Facts], tuple[int, int]]) -> Callable:
    def make(facts: Facts) -> nn.Module:
        module = build(facts)
        module.size = size(facts)  # type: ignore[assignment]
        return module

    return make


GOLDENS: dict[str, dict[str, Golden]] = {
    "linear_attention": {"naive_recurrent_linear_attn": Golden(_linear, call=_by_name)},
    "metaformer": {
        "Pooling": Golden(_pooling),
        "Attention": Golden(_attention, Mapping(*_qkv("", ""), same("out.{p}", "proj.{p}"))),
    },
    "swin": {
        "WindowAttention": Golden(
            _Windows,
            Mapping(
                *_qkv("own.", ""),
                same("own.out.{p}", "proj.{p}"),
                same("own.score_bias.table", "relative_position_bias_table"),
                ignore=["relative_position_index"],
            ),
        ),
        "SwinTransformerBlock": Golden(
            _sized(_classification_block, lambda facts: _pair(facts.config["input_resolution"])),
            _swin_rules(),
            _on_map,
        ),
        "BasicLayer": Golden(
            _sized(_dense_layer, lambda facts: (facts.config["H"], facts.config["W"])),
            _swin_rules("blocks.{i}.", "blocks.{i}."),
            _on_map,
        ),
    },
    **MAMBA,
    **POINTS,
}
