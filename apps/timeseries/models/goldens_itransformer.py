"""iTransformer under its official names and calling conventions: all channels are targets, marks have no horizon."""

__all__ = ["ITRANSFORMER", "within"]

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from apps.timeseries.models.encoder import EncoderLayer
from apps.timeseries.models.itransformer import ITransformer, layer_rules, release_mapping
from core.checkpoint import Mapping
from core.verify import Facts, Golden


def within(prefix: str, mapping: Mapping) -> Mapping:
    """The same rules for a network that is a part of another module."""
    return Mapping(*(replace(rule, target=prefix + rule.target) for rule in mapping.rules), ignore=mapping.ignore)


def activation(facts: Facts) -> type[nn.Module]:
    """The release takes relu by name and gelu for anything else."""
    return nn.ReLU if facts.get("activation", "gelu") == "relu" else nn.GELU


class Release(nn.Module):
    """The network called as the release calls it."""

    def __init__(self, facts: Facts):
        super().__init__()
        marks = facts.inputs.get("x_mark_enc")
        self.net = ITransformer(
            facts.get("seq_len", 96),
            facts.get("pred_len", 96),
            target_dim=facts.inputs["x_enc"].shape[-1],
            num_time_feat=0 if marks is None else marks.shape[-1],
            dim=facts.get("d_model", 512),
            heads=facts.get("n_heads", 8),
            depth=facts.get("e_layers", 2),
            hidden=facts.get("d_ff", 2048) or 4 * facts.get("d_model", 512),
            dropout=0.0,
            activation=activation(facts),
            normalize=bool(facts.get("use_norm", True)),
            use_future=False,
        )

    def forward(self, x_enc: Tensor, x_mark_enc: Tensor | None = None) -> Tensor:
        if x_mark_enc is not None:
            x_mark_enc = F.pad(x_mark_enc, (0, 0, 0, self.net.prediction_length))
        return self.net(x_enc, time_feat=x_mark_enc)


def layer(facts: Facts) -> nn.Module:
    dim = facts.config["d_model"]
    hidden = facts.get("d_ff", None) or 4 * dim
    return EncoderLayer(dim, facts.config["n_heads"], hidden, activation=activation(facts))


ITRANSFORMER = {
    "Model": Golden(
        Release,
        within("net.", release_mapping()),
        lambda run, inputs: run(inputs["x_enc"], inputs.get("x_mark_enc")),
    ),
    "EncoderLayer": Golden(layer, Mapping(*layer_rules("", ""))),
}
