"""kMaX-DeepLab and its parts under the release's constructor arguments."""

__all__ = ["KMAX_GOLDENS"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.segmentation.mask_losses import Masks, PanopticLoss, Truth, match
from apps.vision.segmentation.models import names_kmax as names
from apps.vision.segmentation.models.kmax_decoder import KMaXLayer, QueryAttention, TransformerDecoder
from apps.vision.segmentation.models.kmax_heads import (
    AtrousPyramid,
    PlainSemanticHead,
    Prediction,
    Predictor,
    SemanticHead,
)
from apps.vision.segmentation.models.kmax_layers import odd, resized
from apps.vision.segmentation.models.kmax_pixel_decoder import AxialBlock, BottleneckBlock, Fuse, PixelDecoder
from apps.vision.segmentation.panoptic import instances, panoptic, semantic
from core.checkpoint import Mapping, Rule
from core.mixers import PositionSensitiveAttention
from core.verify import Facts, Golden


class _Plane(nn.Module):
    def __init__(self, *args: int) -> None:
        super().__init__()
        self.columns, self.rows = _line(0, *args), _line(1, args[2], *args[1:])

    def forward(self, x: Tensor) -> Tensor:
        return self.rows(self.columns(x))


def _line(axis: int, dim: int, key_dim: int, value_dim: int, heads: int) -> PositionSensitiveAttention:
    return PositionSensitiveAttention(dim, heads, axis, key_dim=key_dim, value_dim=value_dim)


def _axial(facts: Facts) -> nn.Module:
    config = facts.config
    widths = facts.get("total_key_depth", 512), facts.get("total_value_depth", 1024)
    return _line(0, config["in_planes"], *widths, facts.get("num_heads", 8))


def _plane(facts: Facts) -> nn.Module:
    filters = facts.get("filters", 512)
    widths = (round(filters * facts.get(f"{n}_expansion", f)) for n, f in (("key", 1), ("value", 2)))
    return _Plane(facts.config["in_planes"], *widths, facts.get("num_heads", 8))


def _block(facts: Facts) -> nn.Module:
    dim, (_, base, _), drop = facts.config["inplanes"], facts.config["filter_list"], facts.get("drop_path_prob", 0.0)
    if facts.config["block_type"].lower() == "axial":
        return AxialBlock(dim, base, facts.get("num_heads", 8), drop)
    return BottleneckBlock(dim, base, drop)


def _pixel_decoder(facts: Facts) -> nn.Module:
    config = facts.config
    levels = _coarse_first(config["channels"])
    axial = [n for n, kind in enumerate(config["layer_types"]) if kind.lower() == "axial"]
    channels = [config["channels"][name] for name in levels]
    return PixelDecoder(
        channels, config["dec_layers"], config["dec_channels"], axial, drop_path=config["drop_path_prob"]
    )


def _coarse_first(named: Sequence[str] | dict) -> list[str]:
    """The stem, of the same stride as the first stage, stands before it, as in the release."""
    order = {"res5": 0, "res4": 1, "res3": 2, "stem": 3, "res2": 4}
    return sorted(named, key=lambda name: order[name])


def tokens(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    """Channels second on the outside."""
    return run(*(x.movedim(1, -1) for x in inputs.values())).movedim(-1, 1)


def _call_pixel_decoder(run: Callable, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    features = [inputs[name].movedim(1, -1) for name in _coarse_first(inputs)]
    made = [y.movedim(-1, 1) for y in run(features)]
    return dict(zip(("os32", "os16", "os8"), made, strict=False)) | {"panoptic": made[-1]}


def part(build: Callable[[Facts], nn.Module], rules: list[Rule], call: Callable = tokens) -> Golden:
    """A part of the network; step counters aside."""
    return Golden(build, Mapping(*rules, ignore=["{rest*}.num_batches_tracked"]), call)


def _predictor(facts: Facts) -> nn.Module:
    # The number of classes counts void here and in the layers.
    return Predictor(facts.config["in_channel_pixel"], facts.get("num_classes", 134) - 1)


def _call_predictor(run: Callable, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    queries = (inputs[f"{name}_embeddings"].transpose(1, 2) for name in ("mask", "class"))
    return _named(run(*queries, inputs["pixel_feature"].movedim(1, -1)))


def _named(found: Prediction) -> dict[str, Tensor]:
    return {"class_logits": found.classes, "mask_logits": found.masks, "pixel_feature": found.pixels}


def _layer(facts: Facts) -> nn.Module:
    base = facts.get("base_filters", 128)
    sizes = {n: round(base * facts.get(f"{n}_expansion", f)) for n, f in (("bottleneck", 2), ("key", 1), ("value", 2))}
    return KMaXLayer(
        facts.get("in_channel_pixel", 2048),
        facts.get("num_classes", 133) - 1,
        sizes["bottleneck"],
        query_dim=facts.get("in_channel_query", 256),
        key_dim=sizes["key"],
        value_dim=sizes["value"],
        heads=facts.get("num_heads", 8),
        drop_path=facts.get("drop_path_prob", 0.0),
    )


def _call_layer(run: Callable, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    queries, found = run(inputs["pixel_feature"].movedim(1, -1), inputs["query_feature"].transpose(1, 2))
    return {"query": queries.transpose(1, 2), "assign": found.masks.flatten(2).argmax(1), **_named(found)}


def _call_attention(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    return run(*(x.transpose(2, 3) for x in inputs.values())).transpose(1, 2)


def _call_semantic(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    x, os8, os4 = (inputs[name].movedim(1, -1) for name in ("x", "os8", "os4"))
    return run([x, x, os8, os4])


def _semantic(facts: Facts) -> nn.Module:
    x, os8, os4 = (facts.config[f"{name}channels"] for name in ("in_", "os8_", "os4_"))
    return SemanticHead([x, x, os8, os4], facts.config["num_classes"] - 1)


class _Decoder(nn.Module):
    """The release keeps the semantic head in the transformer decoder."""

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        config = facts.config
        classes = config["num_classes"]
        self.decoder = TransformerDecoder(
            config["in_channels"],
            classes,
            config["num_queries"],
            config["dec_layers"],
            drop_path=config["drop_path_prob"],
        )
        self.semantic = PlainSemanticHead([config["res5"]], classes) if config["add_aux_semantic_pred"] else None

    def forward(self, maps: list[Tensor], semantic: list[Tensor]) -> tuple[list[Prediction], Tensor | None]:
        helped = self.semantic is not None and self.training
        return self.decoder(maps), self.semantic(semantic) if helped else None


def _call_decoder(run: Callable, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    maps = [inputs[name].movedim(1, -1) for name in ("x32", "x16", "x8", "pan")]
    (*layers, last), semantic = run(maps, [inputs["sem"].movedim(1, -1)])
    named = {"pred_logits": last.classes, "pred_masks": last.masks, "pixel_feature": last.pixels}
    if semantic is not None:
        named["aux_semantic_pred"] = semantic
    size = last.masks.shape[2:]
    for n, found in enumerate(layers):
        for name, value in (("pred_masks", found.masks), ("pixel_feature", found.pixels)):
            named[f"aux{n}_{name}"] = resized(value.movedim(1, -1), size, odd(size[0])).movedim(-1, 1)
        named[f"aux{n}_pred_logits"] = found.classes
    return named


def _decoder_mapping(facts: Facts) -> Mapping:
    rules = names.decoder_rules("decoder.", "d.")
    rules += names.plain_semantic_rules("semantic.", "d._auxiliary_semantic_predictor.")
    return Mapping(*rules, ignore=["{rest*}.num_batches_tracked"])


def _criterion(facts: Facts) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """All parts unweighted, of the final result and of one earlier layer."""
    config = facts.config
    segments, classes = [], []
    for ids, labels in zip(config["label_maps"], config["labels"], strict=True):
        table = torch.tensor(ids)
        # 0 is void, the others stand for the labels in order.
        segments.append(torch.searchsorted(table.unique()[table.unique() > 0], table).masked_fill(table == 0, -1))
        classes.append(torch.tensor(labels))
    truth = Truth(torch.stack(segments), tuple(classes))
    loss = PanopticLoss(
        *(1.0,) * 5,
        pixel_samples=config["pixel_insdis_sample_k"],
        pixel_temperature=config["pixel_insdis_temperature"],
        semantic_samples=config["aux_semantic_sample_k"],
    )
    theirs = {"classes": "loss_ce", "masks": "loss_mask", "dice": "loss_dice", "pixels": "loss_pixel_insdis"}

    def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        pixels = {name: F.normalize(inputs[name], dim=1) for name in ("pf", "pf0")}
        final = Masks(inputs["lg"], inputs["mk"], pixels["pf"], inputs["sem"])
        early = Masks(inputs["lg0"], inputs["mk0"], pixels["pf0"])
        goal = loss.goal(final, truth)
        named = {}
        for suffix, layer in (("", final), ("_0", early)):
            named |= {f"{theirs[name]}{suffix}": value for name, value in loss.layer(layer, goal).items()}
        whole, _ = loss(final._replace(others=(early,)), truth)
        named["loss_aux_semantic"] = whole - sum(named.values())
        for n, (lg, mk) in enumerate(zip(inputs["lg"], inputs["mk"], strict=True)):
            found = match(lg, mk, truth.segments[n], truth.classes[n])
            parts = (found.queries, found.truths, found.dice, found.probability)
            sides = ("query", "target", "mask_sim", "class_sim")
            named |= {f"match{n}_{side}": value for side, value in zip(sides, parts, strict=True)}
        return named

    return run


def _panoptic(facts: Facts) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    config = facts.config

    def run(classes: Tensor, masks: Tensor) -> dict[str, Tensor]:
        found = panoptic(
            classes,
            masks,
            config["things"],
            pixel=config["pixel_confidence_threshold"],
            thing=config["class_threshold_thing"],
            stuff=config["class_threshold_stuff"],
            overlap=config["overlap_threshold"],
            class_power=config["reorder_class_weight"],
            mask_power=config["reorder_mask_weight"],
        )
        things = torch.isin(found.kinds, torch.tensor(config["things"]))
        rows = [torch.arange(1, len(found.kinds) + 1), found.kinds, things.long()]
        return {"panoptic": found.segments + 1, "segments": torch.stack(rows, 1)}

    return run


def _inference(facts: Facts) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    config, segments = facts.config, _panoptic(facts)

    def run(classes: Tensor, masks: Tensor) -> dict[str, Tensor]:
        objects = instances(
            classes,
            masks,
            config["test_topk_per_image"],
            config["pixel_confidence_threshold"],
            config["things"] if config["panoptic_on"] else None,
        )
        named = {"inst_area": objects.masks.sum((1, 2)), "inst_classes": objects.kinds, "inst_scores": objects.scores}
        return segments(classes, masks) | named | {"semantic": semantic(classes[None], masks[None])[0]}

    return run


KMAX_GOLDENS = {
    "AxialAttention": part(_axial, names.attention_rules()),
    "AxialAttention2D": part(_plane, names.plane_rules()),
    "SingleBlock": part(_block, names.block_rules()),
    "ResizedFuse": part(
        lambda f: Fuse(*(f.config[f"{n}_channels"] for n in ("low_in", "high_in", "out"))), names.fuse_rules()
    ),
    "kMaXPixelDecoder": part(_pixel_decoder, names.pixel_rules(theirs="d."), _call_pixel_decoder),
    "kMaXPredictor": part(_predictor, names.predictor_rules(), _call_predictor),
    "kMaXTransformerLayer": part(_layer, names.layer_rules(), _call_layer),
    "AttentionOperation": part(
        lambda f: QueryAttention(f.config["channels_v"], f.config["num_heads"]), names.query_rules(), _call_attention
    ),
    "ASPP": part(
        lambda f: AtrousPyramid(*(f.config[n] for n in ("in_channels", "output_channels", "atrous_rates"))),
        names.pyramid_rules(),
    ),
    "SemanticPredictor": part(_semantic, names.semantic_rules(), _call_semantic),
    "kMaXDeepLab.panoptic_inference": Golden(_panoptic),
    "kMaXDeepLab.*_inference": Golden(_inference),
    "SetCriterion": Golden(_criterion, call=lambda run, inputs: run(inputs)),
    "kMaXTransformerDecoder": Golden(_Decoder, _decoder_mapping, _call_decoder),
}
