"""EDSR of BasicSR under its official names."""

__all__ = ["EDSR_TABLE", "edsr_mapping"]

import torch

from apps.vision.golden_calls import call_part
from apps.vision.superres.models.edsr import EDSR, ResidualConvs
from core.checkpoint import Mapping, same
from core.verify import Facts, Golden


def edsr(facts: Facts) -> EDSR:
    network = EDSR(
        facts.get("upscale", 4),
        channels=facts.config["num_in_ch"],
        dim=facts.get("num_feat", 64),
        depth=facts.get("num_block", 16),
        res_scale=facts.get("res_scale", 1),
        value_range=facts.get("img_range", 255.0),
    )
    mean = facts.get("rgb_mean", (0.4488, 0.4371, 0.4040))
    network.range.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
    return network


def edsr_mapping(network: EDSR) -> Mapping:
    """The release counts convolutions and shuffles of the upsampler alike."""
    steps = range(len(network.upsampler.steps))
    return Mapping(
        same("enter.{p}", "conv_first.{p}"),
        same("body.{i}.enter.{p}", "body.{i}.conv1.{p}"),
        same("body.{i}.leave.{p}", "body.{i}.conv2.{p}"),
        same("join.{p}", "conv_after_body.{p}"),
        *(same(f"upsampler.steps.{i}.{{p}}", f"upsample.{2 * i}.{{p}}") for i in steps),
        same("upsampler.leave.{p}", "conv_last.{p}"),
        ignore=["mean"],
    )


EDSR_TABLE = {
    "EDSR": Golden(edsr, lambda facts: edsr_mapping(edsr(facts))),
    "ResidualBlockNoBN": Golden(
        lambda facts: ResidualConvs(facts.get("num_feat", 64), facts.get("res_scale", 1)),
        Mapping(same("enter.{p}", "conv1.{p}"), same("leave.{p}", "conv2.{p}")),
        call_part,
    ),
}
