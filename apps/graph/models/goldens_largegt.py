"""LargeGT: how its release's classes are built, filled and called here.

A golden gives the codebook as inputs, not as weights: the buffers are filled from these, and what they hold after a
training step is among the outputs.
"""

__all__ = ["LARGEGT"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from apps.graph.models.diffusion import spread, tokens
from apps.graph.models.largegt import GlobalAttention, LargeGT, LargeGTLayer, LocalAttention
from apps.graph.models.names_largegt import UNUSED, codebook_rules, layer_rules, local_rules, model_rules
from core.checkpoint import Mapping
from core.codebook import EMACodebook
from core.ops.csr import Csr
from core.verify import Facts, Golden, Run

INPUTS = {
    "c_idx": "assigned",
    "embedding": "embedding",
    "ema_cluster_size": "size",
    "ema_w": "sums",
    "embedding_output": "output",
}


def _given(module: nn.Module) -> nn.Module:
    """Buffers that a file gives as inputs are none of the state that its weights have to fill."""
    for part in module.modules():
        for name in set(INPUTS.values()) & set(dict(part.named_buffers(recurse=False))):
            part.register_buffer(name, getattr(part, name), persistent=False)
    return module


def _with_buffers(run: Any, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> dict[str, Tensor]:
    """Run on copies of the given buffers; the output under "out" or "index", and every buffer after it."""
    assert isinstance(run, Run)
    given = {INPUTS[name]: value.detach().clone() for name, value in inputs.items() if name in INPUTS}
    buffers = {name: given[name.rsplit(".", 1)[-1]] for name, _ in run.module.named_buffers() if _ends(name, given)}
    weights = {**run.weights, **buffers}
    y = torch.func.functional_call(run.module, weights, args, kwargs)
    after = {name.rsplit(".", 1)[-1]: value for name, value in weights.items()}
    outputs = {theirs: after[ours] for theirs, ours in INPUTS.items() if ours in after}
    outputs |= {f"bn.running_{n}": after[m] for n, m in (("mean", "mean"), ("var", "variance")) if m in after}
    return outputs | {"out": y, "index": y}


def _ends(name: str, given: dict[str, Tensor]) -> bool:
    return name.rsplit(".", 1)[-1] in given


def _codebook(facts: Facts) -> nn.Module:
    config = facts.config
    return _given(
        EMACodebook(2 * config["embedding_dim"], config["num_embeddings"], facts.get("decay", 0.99), official=True)
    )


def _codebook_call(run: Callable[..., Any], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    # The codebook's output is written, not read: any start does.
    return _with_buffers(run, inputs | {"embedding_output": torch.zeros_like(inputs["embedding"])}, inputs["x"])


def _local(facts: Facts) -> nn.Module:
    return LocalAttention(
        facts.config["input_dim"],
        facts.get("hidden_dim", 64),
        facts.get("num_heads", 8),
        facts.get("n_layers", 1),
        dropout=facts.get("dropout_rate", 0.3),
        attention_dropout=facts.get("attention_dropout_rate", 0),
        nodes_only=facts.get("node_only_readout", False),
        official=True,
    )


def _layer(facts: Facts) -> nn.Module:
    config, heads = facts.config, facts.get("heads", 1)
    kind = facts.get("conv_type", "local")
    width, hidden = config["in_channels"], config["out_channels"]
    near = LocalAttention(width, hidden, heads, dropout=0) if kind != "global" else None
    far = None
    if kind != "local":
        nodes = config["num_nodes"]
        far = GlobalAttention(width, hidden, heads, config["num_centroids"], config["global_dim"], official_nodes=nodes)
    return _given(LargeGTLayer(near, far))


def _layer_mapping(facts: Facts) -> Mapping:
    local = facts.get("conv_type", "local") != "global"
    unused = UNUSED if local else [*UNUSED, "local_module.{x*}"]
    return Mapping(*layer_rules(local=local), ignore=unused)


def _layer_call(run: Callable[..., Any], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    args = inputs["seq"], inputs["x"], inputs["pos_enc"]
    return _with_buffers(run, inputs, *args, nodes=inputs["batch_idx"])


def _model(facts: Facts) -> nn.Module:
    config = facts.config
    kind = config["conv_type"]
    norm = {"batch_norm": nn.BatchNorm1d, "layer_norm": nn.LayerNorm}[config["norm_type"]]
    return _given(
        LargeGT(
            config["in_channels"],
            config["out_channels"],
            config["hidden_channels"],
            config["heads"],
            local=kind != "global",
            codes=config["num_centroids"] if kind != "local" else 0,
            position_dim=config["global_dim"],
            norm=None if config["no_bn"] else norm,
            dropout=config["ff_dropout"],
            local_dropout=0,
            attention_dropout=config["attn_dropout"],
            official_nodes=config["num_nodes"],
        )
    )


def _model_mapping(facts: Facts) -> Mapping:
    local = facts.config["conv_type"] != "global"
    unused = UNUSED if local else [*UNUSED, "convs.0.local_module.{x*}", "fc_in_seq.{i}.{p}"]
    rules = model_rules(not facts.config["no_bn"], local)
    return Mapping(*rules, ignore=unused)


def _model_call(run: Callable[..., Any], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    args = inputs["seq"], inputs["pos_enc"]
    return _with_buffers(run, inputs, *args, x=inputs["x"], nodes=inputs["batch_idx"])


def _hops(facts: Facts) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    def run(edge_index: Tensor, x: Tensor) -> dict[str, Tensor]:
        # The release's matrix has rows above columns.
        csr = Csr.of(edge_index.flip(0), len(x))[0]
        _, *hops = spread(x, csr, 2, tokens)
        return {f"hop{i}": hop for i, hop in enumerate(hops, 1)}

    return run


LARGEGT = {
    "create_node_ids (hop features)": Golden(_hops),
    "VectorQuantizerEMA": Golden(_codebook, Mapping(*codebook_rules()), _codebook_call),
    "LocalModule": Golden(_local, Mapping(*local_rules(), ignore=UNUSED)),
    "LargeGTLayer": Golden(_layer, _layer_mapping, _layer_call),
    "LargeGT": Golden(_model, _model_mapping, _model_call),
}
