"""Number of clicks (NoC): how much help an interactive segmentation needs (Xu et al. 2016).

    NoC@q = clicks until the IoU is at least q for the first time, at most 20

Means over objects are reported for q of 85 and 90 %, together with how many objects never got there: those count with
the limit, so a mean hides them.
"""

__all__ = ["Clicks", "clicks_needed", "number_of_clicks"]

from collections.abc import Sequence
from typing import NamedTuple

LIMIT = 20


class Clicks(NamedTuple):
    """Over a set of objects.

    Attributes:
        mean: clicks an object, failures at the limit; NaN without objects.
        failures: objects whose IoU never reached the target.
        objects: how many there are.
    """

    mean: float
    failures: int
    objects: int


def clicks_needed(ious: Sequence[float], target: float, limit: int = LIMIT) -> int | None:
    """Of one object.

    Args:
        ious: after each click, the first one first.
        target: IoU to reach, as a share.
        limit: clicks beyond it do not count.

    Returns:
        The number of clicks, or None if the target was not reached.
    """
    return next((n for n, iou in enumerate(ious[:limit], 1) if iou >= target), None)


def number_of_clicks(objects: Sequence[Sequence[float]], target: float, limit: int = LIMIT) -> Clicks:
    """Of a set of objects, each with its IoU after every click.

    Raises:
        ValueError: a share above 1, or an object without a click.
    """
    if not 0 < target <= 1:
        raise ValueError(f"number_of_clicks: the target {target} must be a share of 1, such as 0.9.")
    if any(len(ious) == 0 for ious in objects):
        raise ValueError("number_of_clicks: every object needs the IoU after at least one click.")
    needed = [clicks_needed(ious, target, limit) for ious in objects]
    failures = sum(n is None for n in needed)
    total = sum(limit if n is None else n for n in needed)
    return Clicks(total / len(needed) if needed else float("nan"), failures, len(needed))
