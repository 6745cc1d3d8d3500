"""What is wrong with a set, said before training: features, labels, splits that do not fit together."""

__all__ = ["checked"]

import warnings

import numpy as np

from core.errors import UserError

from .features import check_features
from .items import NodeSet, Split
from .splits import check_split


def checked(nodes: NodeSet, where: str) -> NodeSet:
    """The set with unlabelled nodes left out of its splits; as it is where it was checked when it was stored.

    Warns where a class is not in train: it cannot be learnt, but stays one of the outputs.

    Raises:
        UserError: names what does not fit, and the first node that shows it.
    """
    if nodes.checked:
        return nodes
    count, labels = nodes.graph.nodes, nodes.labels
    check_features(nodes.features, count, where)
    if len(labels) != count:
        raise UserError(f"{where}: there are {len(labels)} labels and {count} nodes; give one to each, -1 for none.")
    if labels.ndim == 2:
        if labels.shape[1] != nodes.tasks or not np.isin(labels[~np.isnan(labels)], (0, 1)).all():
            raise UserError(f"{where}: labels of {nodes.tasks} tasks must be 0, 1 or NaN in {nodes.tasks} columns.")
        known = ~np.isnan(labels).all(1)
    else:
        labels = _whole(labels, where)
        bad = np.nonzero((labels < -1) | (labels >= nodes.tasks))[0]
        if len(bad):
            raise UserError(
                f"{where}: node {bad[0]} has label {labels[bad[0]]}; labels must be in 0 .. {nodes.tasks - 1}, or -1."
            )
        known = labels >= 0
    splits = []
    for number, split in enumerate(nodes.splits):
        own = check_split(split, count, f"{where}, split {number}")
        kept = Split(*(part[known[part]] for part in own))
        for name, part in kept._asdict().items():
            if not len(part):
                raise UserError(f"{where}, split {number}: no node of {name} has a label; label some.")
        splits.append(kept)
    if labels.ndim == 1:
        for number, split in enumerate(splits):
            absent = np.setdiff1d(np.unique(labels[known]), labels[split.train])
            if len(absent):
                names = ", ".join(nodes.classes[n] for n in absent[:5])
                warnings.warn(f"{where}, split {number}: no node of train is of {names}.", stacklevel=2)
    return nodes._replace(labels=labels, splits=splits)


def _whole(labels: np.ndarray, where: str) -> np.ndarray:
    """(N,) int64, -1 for NaN."""
    labels = np.asarray(labels)
    labels = labels.reshape(len(labels)) if labels.size == len(labels) else labels
    if labels.ndim != 1 or not (np.issubdtype(labels.dtype, np.integer) or np.issubdtype(labels.dtype, np.floating)):
        raise UserError(f"{where}: labels are {labels.shape} {labels.dtype}; they must be a whole number a node.")
    if np.issubdtype(labels.dtype, np.floating):
        labels = np.where(np.isnan(labels), -1, labels)
        bad = np.nonzero(labels != np.round(labels))[0]
        if len(bad):
            raise UserError(f"{where}: node {bad[0]} has label {labels[bad[0]]}; labels must be whole numbers.")
    return labels.astype(np.int64)
