"""Names of LargeGT's release and ours."""

__all__ = ["UNUSED", "codebook_rules", "layer_rules", "local_rules", "model_rules"]

from torch import Tensor

from core.checkpoint import Rule, derive, same

# Parameters that the release makes and never uses; those behind the readout cancel in its softmax.
UNUSED = [
    "{x*}.lin_{key|query|value|skip}.{p}",
    "lin_{key|query|value|skip}.{p}",
    "{x*}.out_proj.{p}",
    "out_proj.{p}",
    "{x*}.attn_layer.bias",
    "attn_layer.bias",
    "{x*}.num_batches_tracked",
]


def _neighbour(weight: Tensor) -> Tensor:
    """The half of [t, n_j] that is n_j's."""
    return weight[:, weight.shape[1] // 2 :]


def local_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """LocalModule."""
    layer, own = f"{ours}layers.{{i}}.", f"{theirs}layers.{{i}}."
    rules = [same(f"{layer}{n}.{{p}}", f"{own}self_attention.linear_{n}.{{p}}") for n in "qkv"]
    return [
        *rules,
        same(f"{layer}out.{{p}}", f"{own}self_attention.output_layer.{{p}}"),
        same(f"{layer}norm.{{p}}", f"{own}self_attention_norm.{{p}}"),
        same(f"{layer}residual.{{p}}", f"{own}res_proj.{{p}}"),
        same(f"{ours}enter.{{p}}", f"{theirs}att_embeddings_nope.{{p}}"),
        same(f"{ours}norm.{{p}}", f"{theirs}final_ln.{{p}}"),
        derive(f"{ours}read.weight", f"{theirs}attn_layer.weight", _neighbour),
    ]


def codebook_rules(ours: str = "", theirs: str = "vq.") -> list[Rule]:
    """VectorQuantizerEMA."""
    names = {"embedding": "_embedding", "output": "_embedding_output", "size": "_ema_cluster_size", "sums": "_ema_w"}
    names |= {"mean": "bn.running_mean", "variance": "bn.running_var"}
    return [same(f"{ours}{mine}", f"{theirs}{name}") for mine, name in names.items()]


def layer_rules(ours: str = "", theirs: str = "", local: bool = True) -> list[Rule]:
    """LargeGTLayer; without `local` its local module, which is there in any case, is left out."""
    rules = local_rules(f"{ours}local.", f"{theirs}local_module.") if local else []
    rules += codebook_rules(f"{ours}far.attention.codebook.", f"{theirs}vq.")
    names = {"enter": "proj", "attention.k": "key", "attention.q": "query", "attention.v": "value"}
    rules += [same(f"{ours}far.{mine}.{{p}}", f"{theirs}lin_{name}_g.{{p}}") for mine, name in names.items()]
    return [*rules, derive(f"{ours}far.assigned", f"{theirs}c_idx", _long)]


def _long(index: Tensor) -> Tensor:
    return index.long()


def model_rules(norm: bool, local: bool) -> list[Rule]:
    """LargeGT; without norms the release's sequences are shorter."""
    enter = [0, 1, 4] if norm else [0, 3]
    feed = [0, 1, 4, 5] if norm else [0, 3]
    ours_enter, ours_feed = ([0, 1, 4], [0, 1, 4, 5]) if norm else ([0, 4], [0, 4])
    pairs = [*zip(ours_enter, enter, strict=True)]
    rules = [same(f"enter.{mine}.{{p}}", f"fc_in.{theirs}.{{p}}") for mine, theirs in pairs]
    rules += [same(f"enter_tokens.{i}.{{p}}", f"fc_in_seq.{i}.{{p}}") for i in (0, 3)] if local else []
    pairs = [*zip(ours_feed, feed, strict=True)]
    rules += [same(f"feed.{mine}.{{p}}", f"ffs.0.{theirs}.{{p}}") for mine, theirs in pairs]
    return [*rules, same("out.{p}", "fc_out.{p}"), *layer_rules("layer.", "convs.0.", local)]
