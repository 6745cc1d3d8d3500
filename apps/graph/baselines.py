"""What every table has beside the network: numbers that cost no training to speak of.

    most frequent class   of the training nodes; for two classes judged by ROC AUC a constant, 0.5
    ridge                 regression of the classes (one-hot) on a node's own features, penalty by validation
    ridge on hops         the same on [x, P x, P^2 x], P the symmetric normalisation without self loops: what linear
                          models of neighbours know (compare Wu et al. 2019, "Simplifying graph convolutional networks")

Columns are standardised on the training nodes. The penalties are 10^k times the mean eigenvalue, k = -3 .. 2.
"""

__all__ = ["baselines"]

import numpy as np
import torch
from torch import Tensor

from apps.graph.data.features import take
from apps.graph.data.items import NodeSet, Split
from apps.graph.metrics import accuracy
from apps.graph.models.diffusion import spread, symmetric

HOPS = 2
PENALTIES = tuple(10.0**k for k in range(-3, 3))
# Numbers of a dense copy of the features, and the smaller side of the system that is solved.
LARGEST, WIDEST = 400_000_000, 5000


def baselines(nodes: NodeSet, split: Split) -> dict[str, tuple[float, float]]:
    """Validation and test value of each, as the set is judged.

    Args:
        nodes: with labels; ridges are left out where they would take minutes.
        split: ids.
    """
    labels = torch.from_numpy(np.asarray(nodes.labels))
    train, *others = (torch.from_numpy(np.asarray(ids)) for ids in split)
    made = {}
    if labels.dim() == 1:
        counts = torch.bincount(labels[train].clamp(min=0), minlength=nodes.tasks).float()
        constant = counts.expand(len(labels), -1)
        first, second = (nodes.metric(constant[ids], labels[ids]) for ids in others)
        made["most frequent class" if nodes.metric is accuracy else "constant"] = first, second
    count, width = nodes.features.shape
    if count * width * (1 + HOPS) > LARGEST or min(len(train), width * (1 + HOPS)) > WIDEST:
        return made
    x = take(nodes.features)
    x = x if isinstance(x, Tensor) else x.dense()
    made["ridge on own features"] = _ridge(x, labels, train, others, nodes)
    hops = torch.cat(list(spread(x, nodes.graph.csr, HOPS, symmetric)), 1)
    made[f"ridge on {HOPS} hops of features"] = _ridge(hops, labels, train, others, nodes)
    return made


def _ridge(x: Tensor, labels: Tensor, train: Tensor, others: list[Tensor], nodes: NodeSet) -> tuple[float, float]:
    known = labels[train] >= 0 if labels.dim() == 1 else (labels[train] >= 0).all(1)
    train = train[known]
    own = x[train].double()
    mean, scale = own.mean(0), own.std(0)
    scale = torch.where(scale > 0, scale, 1)
    own = (own - mean) / scale
    if labels.dim() == 1:
        targets = torch.nn.functional.one_hot(labels[train], nodes.tasks).double()
    else:
        targets = labels[train].double()
    middle = targets.mean(0)
    wide = own.shape[1] > len(own)
    gram = own @ own.T if wide else own.T @ own
    values, vectors = torch.linalg.eigh(gram)
    right = vectors.T @ ((targets - middle) if wide else own.T @ (targets - middle))
    best = (-np.inf, -np.inf)
    rows = [(x[ids].double() - mean) / scale for ids in others]
    for penalty in PENALTIES:
        weights = vectors @ (right / (values + penalty * values.mean())[:, None])
        weights = own.T @ weights if wide else weights
        scores = [row @ weights + middle for row in rows]
        found = tuple(nodes.metric(score, labels[ids]) for score, ids in zip(scores, others, strict=True))
        best = max(best, found)  # type: ignore[type-var]
    return best
