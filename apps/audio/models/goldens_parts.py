"""Parts from other releases under their names and calling conventions, for `omnimix verify`.

    lmu, lmuformer    zeyuliu1037/LMUFormer 5debadd: the cell, the memory branch, the layer, a small classifier
    ast_adapters      umbertocappellazzo/PETL_AST 1fe23af: two adapters

The release of LMUFormer keeps (B, C, T), and only sequences of the length it was built for.
"""

__all__ = ["AST_ADAPTERS", "LMU"]

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.audio.models.lmuformer import LMUFormerLayer, MemoryBranch
from core.channels import BottleneckAdapter
from core.checkpoint import Mapping, Rule, derive, same
from core.mixers import ConformerAdapter, LegendreMemory
from core.norms import FrameBatchNorm
from core.verify import Facts, Golden

# What follows from order, theta and length, and step counters.
_REBUILT = ("{any*}.A", "{any*}.B", "{any*}.H", "{any*}.fft_H", "A", "B", "H", "fft_H", "{any*}.num_batches_tracked")


def _flat(weight: Tensor) -> Tensor:
    return weight[..., 0]


def linear_rules(ours: str, theirs: str) -> list[Rule]:
    """A convolution of kernel 1."""
    return [derive(f"{ours}.weight", f"{theirs}.weight", _flat), same(f"{ours}.bias", f"{theirs}.bias")]


def cell_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        same(f"{ours}signal.{{p}}", f"{theirs}W_u.{{p}}"),
        same(f"{ours}out.{{p}}", f"{theirs}W_h.{{p}}"),
    ]


def branch_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        *cell_rules(f"{ours}memory.", f"{theirs}lmu."),
        *linear_rules(f"{ours}linear", f"{theirs}proj_conv"),
        same(f"{ours}norm.{{p}}", f"{theirs}proj_bn.{{p}}"),
    ]


def layer_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        *branch_rules(f"{ours}branch.", f"{theirs}attn."),
        *linear_rules(f"{ours}enter", f"{theirs}mlp.fc1_conv"),
        same(f"{ours}enter_norm.{{p}}", f"{theirs}mlp.fc1_bn.{{p}}"),
        *linear_rules(f"{ours}leave", f"{theirs}mlp.fc2_conv"),
        same(f"{ours}leave_norm.{{p}}", f"{theirs}mlp.fc2_bn.{{p}}"),
    ]


def _cell(facts: Facts) -> nn.Module:
    config = facts.config
    return LegendreMemory(
        config["input_size"], config["hidden_size"], order=config["memory_size"], theta=float(config["theta"])
    )


class _Both(nn.Module):
    """All tokens and the last one in parallel ("0", "1"), and a token at a time with the last state ("h", "m")."""

    def __init__(self, cell: LegendreMemory) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        state, outputs = self.cell.initial_state(len(x), x.device, x.dtype), []
        for token in x.unbind(1):
            y, state = self.cell.step(token, state)
            outputs.append(y)
        together = self.cell(x)
        return {"0": together, "1": together[:, -1], "h": torch.stack(outputs, 1), "m": state[0]}


def on_channels(run: Any, inputs: dict[str, Tensor]) -> Tensor:
    """(B, C, T) in and out."""
    return run(inputs["x"].mT).mT


class _Classifier(nn.Module):
    """Four convolutions, a convolution for positions, layers, the mean over tokens of a linear layer."""

    def __init__(self, channels: int, classes: int, dim: int, ratio: float, depth: int) -> None:
        super().__init__()
        sizes = [channels] + [dim] * 4
        self.convs = nn.ModuleList(nn.Conv1d(a, b, 3, padding=1, bias=False) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(FrameBatchNorm(dim) for _ in range(4))
        self.position = nn.Conv1d(dim, dim, 3, padding=1, bias=False)
        self.layers = nn.ModuleList(LMUFormerLayer(dim, hidden=int(ratio * dim)) for _ in range(depth))
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(F.relu(conv(x.mT).mT))
        x = x + self.position(x.mT).mT
        for layer in self.layers:
            x = layer(x)
        return self.head(x).mean(1)


def _classifier(facts: Facts) -> nn.Module:
    config = facts.config
    return _Classifier(
        config["in_channels"], config["num_classes"], config["embed_dims"], config["mlp_ratios"], config["depths"]
    )


_CELL = Golden(lambda facts: _Both(_cell(facts)), Mapping(*cell_rules("cell.", ""), ignore=_REBUILT))

LMU = {
    "LMUFFTCell": _CELL,
    "LMUFFTCell.forward_recurrent": _CELL,
    "LMU": Golden(
        lambda facts: MemoryBranch(facts.config["dim"], theta=float(facts.get("theta", 128))),
        Mapping(*branch_rules("", ""), ignore=_REBUILT),
        on_channels,
    ),
    "Block": Golden(
        lambda facts: LMUFormerLayer(
            facts.config["dim"],
            hidden=int(facts.config["dim"] * facts.get("mlp_ratio", 4.0)),
            theta=float(facts.get("theta", 128)),
        ),
        Mapping(*layer_rules("", ""), ignore=_REBUILT),
        on_channels,
    ),
    "ConvLMU": Golden(
        _classifier,
        Mapping(
            same("convs.{i}.weight", "patch_embed.conv_layers.{i}.0.weight"),
            same("norms.{i}.{p}", "patch_embed.conv_layers.{i}.3.{p}"),
            same("position.weight", "patch_embed.rpe_conv.weight"),
            *layer_rules("layers.{i}.", "block.{i}."),
            same("head.{p}", "head.{p}"),
            ignore=_REBUILT,
        ),
    ),
}


def _conformer(facts: Facts) -> nn.Module:
    return ConformerAdapter(
        facts.config["in_dim"],
        facts.config["out_dim"],
        reduction=facts.config["reduction_rate"],
        kernel=facts.config["kernel_size"],
        official=True,
    )


AST_ADAPTERS = {
    "Bottleneck_adapter": Golden(
        lambda facts: BottleneckAdapter(
            facts.config["in_dim"], facts.config["out_dim"], reduction=facts.config["reduction_rate"]
        ),
        Mapping(same("enter.{p}", "linear_downsample.{p}"), same("leave.{p}", "linear_upsample.{p}")),
    ),
    "Conformer_adapter": Golden(
        _conformer,
        Mapping(
            *linear_rules("enter", "pwise_conv1"),
            same("conv", "dwise_conv.weight"),
            same("conv_bias", "dwise_conv.bias"),
            same("batch_norm.{p}", "bnorm.{p}"),
            *linear_rules("leave", "pwise_conv2"),
            # The release computes this norm and does not use it.
            ignore=("lnorm.{p}", "{any*}.num_batches_tracked"),
        ),
    ),
}
