"""Pictures of a node classification: what the network has made of the nodes, and where it fails."""

__all__ = ["sections"]

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apps.graph.data.datamodule import GraphData
from apps.graph.metrics import accuracy
from apps.graph.statistics import alike
from apps.graph.task import Predicted
from core.training.report import COLOURS, Figure, Section, figure

DRAWN = 4000
"""Nodes of a scatter plot."""


def sections(test: Predicted, data: GraphData) -> list[Section]:
    """The report's middle: embeddings, and results by degree, homophily and class."""
    made = []
    known = test.labels >= 0 if test.labels.dim() == 1 else torch.zeros(len(test.labels), dtype=torch.bool)
    if not known.any():
        return made
    test = Predicted(*(part[known] for part in test))
    if test.embeddings.shape[1] > 1 and len(test.nodes) > 2:
        made.append(Section("Embeddings", [_plane(test, data.classes)]))
    right = _right(test, data.nodes.metric is accuracy)
    ids = test.nodes.numpy()
    degrees = data.nodes.graph.degrees[ids].astype(float)
    figures = [_bars(_parts(degrees), degrees, right, "edges into the node", "By degree")]
    same = alike(data.nodes.graph, data.nodes.labels)[ids]
    if not np.isnan(same).all():
        limits = np.array([0, 0.2, 0.4, 0.6, 0.8, 1.0 + 1e-9])
        figures.append(_bars(limits, same, right, "share of neighbours of the same class", "By homophily"))
    if 2 < len(data.classes) <= 50:
        figures.append(_classes(test, data.classes, right))
    made.append(Section("Where it fails", figures))
    return made


def _right(test: Predicted, by_class: bool) -> NDArray[np.float64]:
    """(n,) 1 where the node is on its side: the largest score, or of two classes the side of the median score."""
    scores = test.scores
    if by_class or scores.shape[1] > 2:
        return (scores.argmax(1) == test.labels).double().numpy()
    single = scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores[:, 0]
    # As many nodes are called positive as there are: ROC curves know no threshold.
    bound = single.sort().values[max(0, int((test.labels == 0).sum()) - 1)]
    return ((single > bound).long() == test.labels).double().numpy()


def _plane(test: Predicted, classes: Sequence[str]) -> Figure:
    """The first two principal components."""
    rows = torch.linspace(0, len(test.nodes) - 1, min(DRAWN, len(test.nodes))).long()
    x = test.embeddings[rows].double()
    x = x - x.mean(0)
    _, values, vectors = torch.linalg.svd(x, full_matrices=False)
    plane = (x @ vectors[:2].T).numpy()
    share = (values[:2].square().sum() / values.square().sum().clamp(min=1e-30)).item()
    labels = test.labels[rows].numpy()
    shown = [n for n in np.unique(labels) if n >= 0][: len(COLOURS)]
    text = f"Embeddings of {len(rows)} test nodes on their two principal components, coloured by class"
    caption = (
        f"Test nodes on two principal components ({100 * share:.0f} % of the variance) of what enters the last layer."
    )
    with figure(text, caption, size=(5.2, 4.2)) as (axis, made):
        for colour, n in zip(COLOURS, shown, strict=False):
            own = labels == n
            axis.scatter(*plane[own].T[:2], s=4, color=colour, linewidths=0, label=classes[n], rasterized=True)
        axis.set_xlabel("first component")
        axis.set_ylabel("second component")
        axis.legend(frameon=False, markerscale=3, fontsize="small")
    return made


def _parts(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Limits of at most five parts of about equally many nodes."""
    limits = np.unique(np.quantile(values, np.linspace(0, 1, 6)))
    return np.append(limits[:-1], limits[-1] + 1) if len(limits) > 1 else np.array([limits[0], limits[0] + 1])


def _bars(
    limits: NDArray[np.float64], values: NDArray[np.float64], right: NDArray[np.float64], unit: str, title: str
) -> Figure:
    whole = bool((np.nan_to_num(values) == np.nan_to_num(values).round()).all() and limits[-1] > 2)
    names, heights, counts = [], [], []
    for low, high in pairwise(limits):
        inside = (values >= low) & (values < high)
        if not inside.any():
            continue
        last = int(np.ceil(high)) - 1
        name = (
            (f"{int(low)}" if int(low) == last else f"{int(low)}–{last}") if whole else f"{low:.1f}–{min(high, 1):.1f}"
        )
        names.append(name)
        heights.append(100 * right[inside].mean())
        counts.append(int(inside.sum()))
    parts = "; ".join(f"{name}: {height:.0f} %" for name, height in zip(names, heights, strict=True))
    with figure(f"{title}: {parts}", f"Right in percent, by {unit}; below, the number of nodes.") as (axis, made):
        axis.bar(range(len(names)), heights, color=COLOURS[0])
        axis.axhline(100 * right.mean(), color=COLOURS[1], lw=1.2)
        axis.set_xticks(range(len(names)), [f"{name}\n{count}" for name, count in zip(names, counts, strict=True)])
        axis.set_ylim(0, 100)
        axis.set_ylabel("right in %")
        axis.set_xlabel(unit)
    return made


def _classes(test: Predicted, classes: Sequence[str], right: NDArray[np.float64]) -> Figure:
    """Recall of every class, the rarest first."""
    labels: Tensor = test.labels
    counts = torch.bincount(labels, minlength=len(classes))
    order = [n for n in counts.argsort().tolist() if counts[n] > 0]
    recalls = [100 * right[(labels == n).numpy()].mean() for n in order]
    text = "Recall by class: " + ", ".join(f"{classes[n]} {r:.0f} %" for n, r in zip(order, recalls, strict=True))
    caption = "Recall of each class in percent, the rarest first; in brackets the number of nodes."
    with figure(text, caption, size=(6.4, 0.8 + 0.24 * len(order))) as (axis, made):
        axis.barh(range(len(order)), recalls, color=COLOURS[0])
        axis.set_yticks(range(len(order)), [f"{classes[n]} ({int(counts[n])})" for n in order])
        axis.set_xlim(0, 100)
        axis.set_xlabel("recall in %")
    return made
