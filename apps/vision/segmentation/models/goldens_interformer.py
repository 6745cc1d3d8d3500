"""Parts of InterFormer's neck under the release's constructor arguments."""

__all__ = ["INTERFORMER"]

from collections.abc import Callable

from torch import Tensor, nn

from apps.vision.golden_calls import call_part, call_tokens, on_map
from apps.vision.segmentation.models import names_interformer as names
from apps.vision.segmentation.models.interformer_neck import ClickNeck, NeckBlock, OverlapMerging, refine_inside
from core.checkpoint import Mapping
from core.mixers import PooledAttention
from core.verify import Facts, Golden

RATIOS = (12, 16, 20, 24)


class _Attention(PooledAttention):
    def forward(self, x: Tensor, other: Tensor) -> Tensor:  # type: ignore[override]
        return self.among(x, other)


class _Refine(nn.ModuleList):
    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        return refine_inside(x, list(self), boxes.long())


def _sizes(facts: Facts, ratios: tuple[int, ...]) -> tuple:
    config = facts.config
    return config["embed_dims"], config["num_heads"], facts.get("pool_ratios", ratios), tuple(config["target_size"])


def _attention(facts: Facts) -> nn.Module:
    *sizes, extent = _sizes(facts, (1, 2, 3, 6))
    return _Attention(*sizes, extent=extent)


def _block(facts: Facts) -> NeckBlock:
    return NeckBlock(*_sizes(facts, RATIOS), facts.get("mlp_ratio", 4.0))


def _neck(facts: Facts) -> ClickNeck:
    config = facts.config
    sizes = (config[name] for name in ("in_channels", "num_heads", "depths", "refine_start", "mlp_ratio"))
    return ClickNeck(*sizes, config["pool_ratios"], tuple(config["target_size"]), 0.0)


def _neck_mapping(facts: Facts) -> Mapping:
    return Mapping(*names.neck_rules(facts.config["depths"], facts.config["refine_start"]))


def _merging(facts: Facts) -> OverlapMerging:
    return OverlapMerging(facts.config["in_channels"], facts.config["out_channels"])


def _call_neck(run: Callable, inputs: dict[str, Tensor]) -> list[Tensor]:
    *maps, labels = inputs.values()
    return [y.movedim(-1, 1) for y in run([x.movedim(1, -1) for x in maps], labels[:, 0])]


INTERFORMER = {
    "PoolingAttention": Golden(_attention, Mapping(*names.attention_rules()), call_part),
    "PoolingBlock": Golden(_block, Mapping(*names.block_rules()), call_part),
    "PatchMerging": Golden(
        on_map(_merging, lambda f: tuple(f.config["hw"])), Mapping(*names.merging_rules()), call_tokens
    ),
    "RefineBlockSequence": Golden(
        lambda f: _Refine(_block(f) for _ in range(f.config["depth"])), Mapping(*names.refine_rules()), call_part
    ),
    "IMSA": Golden(_neck, _neck_mapping, _call_neck),
}
