"""Splits from masks, lists of ids or a seed, checked."""

__all__ = ["check_split", "from_masks", "random_split"]

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import UserError
from core.training.draws import generator

from .items import Split

NAMES = ("train", "validation", "test")


def check_split(parts: tuple[ArrayLike, ArrayLike, ArrayLike], nodes: int, where: str) -> Split:
    """Lists of ids as a split.

    Args:
        parts: ids to train, validate and test on.
        nodes: N.
        where: file or set, for errors.

    Raises:
        UserError: an id out of range or twice, an empty part, or a node in two parts.
    """
    made = []
    owner = np.full(nodes, -1, np.int8)
    for part, (name, ids) in enumerate(zip(NAMES, parts, strict=True)):
        given = np.asarray(ids)
        if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
            raise UserError(f"{where}: {name} is {given.shape} {given.dtype}; it must be a list of whole numbers.")
        if not len(given):
            raise UserError(f"{where}: {name} has no nodes; give it some.")
        bad = np.nonzero((given < 0) | (given >= nodes))[0]
        if len(bad):
            raise UserError(f"{where}: {name} names node {given[bad[0]]}; ids must be in 0 .. {nodes - 1}.")
        taken = np.nonzero(owner[given] >= 0)[0]
        if len(taken):
            other = NAMES[owner[given[taken[0]]]]
            raise UserError(f"{where}: node {given[taken[0]]} is in {other} and in {name}; keep it in one.")
        owner[given] = part
        if np.count_nonzero(owner == part) < len(given):
            raise UserError(f"{where}: {name} names a node twice; keep it once.")
        made.append(np.sort(given).astype(np.int64))
    return Split(*made)


def from_masks(train: NDArray, validation: NDArray, test: NDArray, nodes: int, where: str) -> list[Split]:
    """Splits of masks (N,), (S, N) or (N, S).

    Raises:
        UserError: masks of another length or type.
    """
    rows = []
    for name, mask in zip(NAMES, (train, validation, test), strict=True):
        mask = np.atleast_2d(np.asarray(mask))
        if mask.ndim == 2 and mask.shape[1] != nodes and mask.shape[0] == nodes:
            mask = mask.T
        if mask.dtype != bool or mask.ndim != 2 or mask.shape[1] != nodes:
            raise UserError(
                f"{where}: the mask of {name} is {mask.shape} {mask.dtype}; it must be true or false for each of the "
                f"{nodes} nodes."
            )
        rows.append(mask)
    if len({len(mask) for mask in rows}) > 1:
        counts = ", ".join(str(len(mask)) for mask in rows)
        raise UserError(f"{where}: masks of train, validation and test are for {counts} splits; they must be as many.")
    ids = [[np.nonzero(mask)[0] for mask in row] for row in rows]
    return [check_split(parts, nodes, where) for parts in zip(*ids, strict=True)]


def random_split(labelled: NDArray[np.int64], seed: int, shares: tuple[float, float] = (0.5, 0.25)) -> Split:
    """Labelled nodes in an order of the seed, cut into train, validation and the rest.

    Raises:
        UserError: fewer than three nodes, or shares that leave a part empty.
    """
    count = len(labelled)
    ends = [round(count * shares[0]), round(count * (shares[0] + shares[1]))]
    if not 0 < ends[0] < ends[1] < count:
        raise UserError(
            f"--data: {count} labelled nodes in shares {shares[0]:g}, {shares[1]:g} and the rest leave a part empty; "
            "label more nodes or change the shares."
        )
    order = generator(seed, 0).permutation(np.asarray(labelled, np.int64))
    return Split(*(np.sort(part) for part in np.split(order, ends)))
