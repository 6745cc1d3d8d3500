"""Parts of InterFormer's neck under the release's constructor arguments."""

__all__ = ["INTERFORMER"]

from collections.abc import Callable

from torch import Tensor, nn

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
        return refine_inside(x, self, boxes)


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
    made = OverlapMerging(facts.config["in_channels"], facts.config["out_channels"])
    made.size = tuple(facts.config["hw"])  # type: ignore[assignment]
    return made


def _call_maps(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    """Whole numbers (boxes) stay as they are."""
    return run(*(x.movedim(1, -1) if x.ndim == 4 else x.long() for x in inputs.values())).movedim(-1, 1)


def _call_neck(run: Callable, inputs: dict[str, Tensor]) -> list[Tensor]:
    *maps, labels = inputs.values()
    return [y.movedim(-1, 1) for y in run([x.movedim(1, -1) for x in maps], labels[:, 0])]


def _call_merging(run, inputs: dict[str, Tensor]) -> Tensor:
    (x,) = inputs.values()
    return run(x.unflatten(1, run.module.size)).flatten(1, 2)


INTERFORMER = {
    "PoolingAttention": Golden(_attention, Mapping(*names.attention_rules()), _call_maps),
    "PoolingBlock": Golden(_block, Mapping(*names.block_rules()), _call_maps),
    "PatchMerging": Golden(_merging, Mapping(*names.merging_rules()), _call_merging),
    "RefineBlockSequence": Golden(
        lambda f: _Refine(_block(f) for _ in range(f.config["depth"])), Mapping(*names.refine_rules()), _call_maps
    ),
    "IMSA": Golden(_neck, _neck_mapping, _call_neck),
}
