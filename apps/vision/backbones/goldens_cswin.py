"""CSWin under its release's class names and arguments; a level no larger than its stripes attends to the whole map."""

__all__ = ["CSWIN"]

from math import isqrt
from typing import Any

from torch import Tensor, nn

from apps.vision.backbones.cswin import CSWin, cswin_block
from apps.vision.backbones.goldens_common import Whole, call_whole, released
from apps.vision.backbones.names_cswin import cswin_block_rules, cswin_official
from apps.vision.golden_calls import call_tokens, flat, on_map
from core.checkpoint import Mapping, same
from core.mixers.stripe_attention import Stripes
from core.verify import Facts, Golden


def _arguments(facts: Facts, bias: bool) -> dict[str, Any]:
    return {
        "mlp_ratio": facts.get("mlp_ratio", 4.0),
        "bias": facts.get("qkv_bias", bias),
        "score_scale": facts.get("qk_scale", None),
        "official": True,
    }


def _stripe(size: int, width: int, last: bool) -> int | None:
    return None if last or size == width else width


def _block(facts: Facts) -> nn.Module:
    stripe = _stripe(facts.config["reso"], facts.get("split_size", 7), facts.get("last_stage", False))
    return cswin_block(facts.config["dim"], facts.config["num_heads"], stripe, **_arguments(facts, False))


def _branch(facts: Facts) -> nn.Module:
    width = facts.get("split_size", 7)
    window = {-1: (None, None), 0: (None, width), 1: (width, None)}[facts.config["idx"]]
    scale = facts.get("qk_scale", None)
    return Stripes(facts.config["dim"], facts.get("num_heads", 8), window, scale=scale, official=True)


def _call_branch(run: Any, inputs: dict[str, Tensor]) -> Tensor:
    """(3, B, H W, C) on a square map."""
    qkv = inputs["qkv"]
    side = isqrt(qkv.shape[2])
    return flat(run(qkv.movedim(0, 2).unflatten(1, (side, side))))


def _whole(facts: Facts) -> nn.Module:
    depths, sizes = facts.get("depth", (2, 2, 6, 2)), facts.get("split_size", (3, 5, 7))
    widths = [*sizes[:3], sizes[-1]]
    side = facts.get("img_size", 224)
    backbone = CSWin(
        facts.get("embed_dim", 96),
        depths,
        facts.get("num_heads", 12),
        stripes=[_stripe(side // 4 // 2**i, width, i == 3) for i, width in enumerate(widths)],
        channels=facts.get("in_chans", 3),
        **_arguments(facts, True),
    )
    return Whole(backbone, facts.get("num_classes", 1000))


CSWIN = {
    "LePEAttention": Golden(_branch, Mapping(same("lepe.{p}", "get_v.{p}")), _call_branch),
    "CSWinBlock": Golden(
        on_map(_block, lambda facts: (facts.config["reso"],) * 2), Mapping(*cswin_block_rules("", "")), call_tokens
    ),
    "CSWinTransformer": Golden(_whole, released(_whole, cswin_official), call_whole(flat)),
}
