"""TransKD, its parts and losses under the release's names."""

__all__ = ["TRANSKD"]

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.backbones.mit import MiT
from apps.vision.rules import COUNTERS, below
from apps.vision.segmentation.models import names_transkd as names
from apps.vision.segmentation.models.distillation import channel_loss, context_loss, pixel_loss
from apps.vision.segmentation.models.layers import maps
from apps.vision.segmentation.models.segformer import SegFormerHead
from apps.vision.segmentation.models.segmenter import EncoderDecoder, Head
from apps.vision.segmentation.models.transkd import GLMixer, LevelFusion, MatchEA, MatchGL, MatchLinear, TransKD
from core.checkpoint import Mapping
from core.verify import Facts, Golden


def _mit(config: dict) -> MiT:
    return MiT(
        config["embed_dims"],
        config["depths"],
        config["num_heads"],
        reductions=config["sr_ratios"],
        official=True,
    )


def _student(config: dict) -> tuple[int, MiT, Head]:
    return config["num_classes"], _mit(config), partial(SegFormerHead, dim=config["decoderembed_dim"], dropout=0.0)


def _segformer(config: dict) -> EncoderDecoder:
    return EncoderDecoder(*_student(config))


class _Told(nn.Module):
    """All that the release's networks return."""

    def __init__(self, inner: EncoderDecoder | TransKD) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        student = self.inner.student if isinstance(self.inner, TransKD) else self.inner
        embeddings, features = TransKD.levels(student.backbone, x)  # type: ignore[arg-type]
        told = {"logit": student.head(features)}
        if isinstance(self.inner, TransKD):
            told |= {f"result{n}": y for n, y in enumerate(self.inner.fused(features))}
            embeddings = self.inner.matched(x, embeddings, features)
        else:
            told |= {f"feat{n}": y for n, y in enumerate(maps(features))}
        return told | {f"embed{n}": e.flatten(1, 2) for n, e in enumerate(embeddings)}


def _teacher(widths: list[int]) -> MiT:
    return MiT(widths, (0, 0, 0, 0), (1, 1, 1, 1))


def _network(facts: Facts) -> TransKD:
    match: type[MatchLinear] = MatchLinear
    if "fuse_weights.0" in facts.weights:
        match = MatchEA
    elif "atten_weight" in facts.weights:
        match = MatchGL
    made = TransKD(
        *_student(facts.config["student"]),
        _teacher(facts.config["out_channels"]),
        match,
        facts.config["mid_channel"],
        official=True,
    )
    if isinstance(made.match, MatchGL):
        made.match.mixer = GLMixer(
            facts.config["in_channels"][-1], facts.config["num_heads"][-1], facts.get("add", False)
        )
    return made


def _network_mapping(facts: Facts) -> Mapping:
    return Mapping(*below("inner.", "", names.transkd_rules(_network(facts), True)), ignore=COUNTERS)


def _fusion(facts: Facts) -> LevelFusion:
    config = facts.config
    sizes = config["in_channel"], config["mid_channel"], config["out_channel"]
    return LevelFusion(*sizes, config["fuse"], True)


class _Total(nn.Module):
    """The loss of TransKD-Base, part by part."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.teacher, self.config = _segformer(config["teacher"]), config
        self.student = TransKD(
            *_student(config["student"]), _mit(config["teacher"]), MatchLinear, config["mid_channel"], official=True
        )

    def forward(self, image: Tensor, labels: Tensor) -> dict[str, Tensor]:
        told = _Told(self.student)(image)
        with torch.no_grad():
            wanted, goals = TransKD.levels(self.teacher.backbone, image)  # type: ignore[arg-type]
        weight = torch.tensor(self.config["weight"], dtype=image.dtype)
        losses = {"ce": F.cross_entropy(told["logit"], labels.long(), weight)}
        losses["hcl"] = context_loss([told[f"result{n}"] for n in range(4)], maps(goals))
        total = losses["ce"] + losses["hcl"]
        for n, (goal, share) in enumerate(zip(wanted, self.config["embed_weights"], strict=True)):
            losses[f"mse{n}"] = F.mse_loss(told[f"embed{n}"], goal.flatten(1, 2))
            total = total + share * losses[f"mse{n}"]
        return losses | {"total": total}


def _total_mapping(facts: Facts) -> Mapping:
    made = _Total(facts.config)
    rules = below("student.", "m.", names.transkd_rules(made.student, True))
    backbone = made.teacher.backbone
    assert isinstance(backbone, MiT)
    return Mapping(*rules, *below("teacher.", "t.", names.segformer_rules(backbone)), ignore=COUNTERS)


def _cwd(facts: Facts) -> Callable[[Tensor, Tensor], Tensor]:
    temperature = facts.get("temperature", 1.0)
    if facts.get("divergence", "kl") == "mse":

        def squared(student: Tensor, teacher: Tensor) -> Tensor:
            parts = [(x / temperature).flatten(2).softmax(-1) for x in (student, teacher)]
            return F.mse_loss(*parts, reduction="sum") / student.shape[:2].numel() * temperature**2

        return squared
    form = channel_loss if facts.get("norm_type", "none") == "channel" else pixel_loss
    return partial(form, temperature=temperature)


def _call_context(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    values = list(inputs.values())
    return run(values[:4], values[4:])


TRANSKD = {
    "MixVisionTransformer": Golden(
        lambda f: _Told(_segformer(f.config)),
        lambda f: Mapping(*below("inner.", "", names.segformer_rules(_mit(f.config))), ignore=COUNTERS),
    ),
    "SKF": Golden(lambda f: _Told(_network(f)), _network_mapping),
    "SK": Golden(_fusion, Mapping(*names.fusion_rules(True), ignore=COUNTERS)),
    "GLMixer (inline in SKF)": Golden(
        lambda f: GLMixer(f.config["dim"], f.config["num_heads"], f.get("add", False)), Mapping(*names.mixer_rules())
    ),
    "TransKD-Base loss": Golden(lambda f: _Total(f.config), _total_mapping),
    "hcl": Golden(lambda f: context_loss, call=_call_context),
    "hcl_feaw": Golden(lambda f: partial(context_loss, weights=f.config["fea_weights"]), call=_call_context),
    "CriterionCWD": Golden(_cwd),
}
