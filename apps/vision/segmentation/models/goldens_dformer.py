"""D-Former and its parts under the release's constructor arguments."""

__all__ = ["DFORMER"]

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from apps.vision.segmentation.models import names_dformer as names
from apps.vision.segmentation.models.dformer import PAIR, DFormer, Enlarge
from core.blocks import Block
from core.channels import MLP
from core.checkpoint import Mapping
from core.mixers import DilatedGroupAttention
from core.positions import ConditionalPosition
from core.resample import PatchMerging
from core.verify import Facts, Golden

# The release's are fixed to this many.
CLASSES = 14


class _Decoder(DFormer):
    """Maps of the decoder, coarse to fine."""

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
        return self.maps(x.movedim(1, -1))[::-1]


class _Heads(DFormer):
    """The two finest heads at the resolution of each, every fourth voxel."""

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
        maps = self.maps(x.movedim(1, -1))
        return [head(y)[..., ::4, ::4, ::4] for head, y in zip(list(self.heads)[:2], maps[:2], strict=True)]


def _block(facts: Facts) -> Block:
    config = facts.config
    interval = facts.get("interval", 8) if facts.get("gsm", 0) else None
    group = facts.get("group_size", (2, 7, 7))
    mixer = DilatedGroupAttention(config["dim"], config["num_heads"], group, interval, official=True)
    return Block(config["dim"], mixer, MLP(config["dim"], int(config["dim"] * facts.get("mlp_ratio", 4.0))))


def _sizes(facts: Facts, channels: str, group: tuple[int, int, int]) -> dict[str, Any]:
    return {
        "channels": facts.get(channels, 1),
        "dim": facts.get("embed_dim", 96),
        "depths": facts.get("depths", (2, 2, 6, 2)),
        "heads": facts.get("num_heads", (3, 6, 12, 24)),
        "group": facts.get("group_size", group),
        "intervals": facts.get("interval_list", (8, 4, 2, 1)),
        "patch": facts.get("patch_size", (2, 4, 4)),
        "official": True,
    }


def _decoder(facts: Facts) -> nn.Module:
    network = _Decoder(CLASSES, **_sizes(facts, "in_chans", (2, 7, 7)))
    network.heads = nn.ModuleList()
    return network


def _levels(facts: Facts) -> int:
    return len(facts.get("depths", (2, 2, 6, 2)))


def _call_merging(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    return run(*inputs.values()).tokens


def _call_enlarge(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    (x,) = inputs.values()
    return run(x, tuple(n * p for n, p in zip(x.shape[1:-1], PAIR, strict=True)))


DFORMER = {
    "DFormerBlock3D": Golden(_block, Mapping(*names.block_rules())),
    "PatchMerging": Golden(
        lambda f: PatchMerging(f.config["dim"], 2 * f.config["dim"], PAIR),
        Mapping(*names.merging_rules()),
        _call_merging,
    ),
    "PatchExpand3D": Golden(lambda f: Enlarge(f.config["dim"]), Mapping(*names.enlarge_rules()), _call_enlarge),
    "PosCNN": Golden(lambda f: ConditionalPosition(f.config["embed_dim"], (3, 3, 3)), Mapping(*names.position_rules())),
    "DFormer3D": Golden(_decoder, lambda f: Mapping(*names.dformer_mapping(_levels(f)))),
    "SegNetwork": Golden(
        lambda f: _Heads(CLASSES, **_sizes(f, "in_chan", (2, 8, 8))), lambda f: names.dformer_official(_levels(f))
    ),
}
