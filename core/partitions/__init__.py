"""Who meets whom in attention: plans for a pair of token layouts.

A partition is a small value (frozen, hashable); its `plan` for a query grid and a key grid says which tokens form
groups. Plans of regular grids are cached by partition, sizes and device; those of ragged sets are made from the
coordinates each time.
"""

from core.partitions.base import AxisGroup, Partition, own_group
from core.partitions.boxes import BoxPlan, Cut
from core.partitions.plan import Bucket, IndexPlan, Pairs, Plan
from core.partitions.ragged import group_plan, segment_plan, window_ids
from core.partitions.regular import Axis, Chunks, Overlapping, Spread, Strided, Whole, Windows

__all__ = [
    "Axis",
    "AxisGroup",
    "BoxPlan",
    "Bucket",
    "Chunks",
    "Cut",
    "IndexPlan",
    "Overlapping",
    "Pairs",
    "Partition",
    "Plan",
    "Spread",
    "Strided",
    "Whole",
    "Windows",
    "group_plan",
    "own_group",
    "segment_plan",
    "window_ids",
]
