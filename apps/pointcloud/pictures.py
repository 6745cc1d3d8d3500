"""Pictures of sweeps from above with boxes, and precision over recall."""

__all__ = ["bird_eye", "sections"]

from collections.abc import Sequence

import numpy as np

from apps.pointcloud.boxes import corners
from apps.pointcloud.data.items import Frame
from apps.pointcloud.metrics.plain import Objects, Score
from core.training.report import COLOURS, Figure, Section, figure

POINTS = 12000
SHOWN = 0.3
"""Score from which a detection is drawn."""


def sections(
    frames: Sequence[Frame], truth: Sequence[Objects], found: Sequence[Objects], scores: dict[str, list[Score]]
) -> list[Section]:
    """The report's middle: the sweeps with most objects, the curves, what scores say."""
    order = sorted(range(len(frames)), key=lambda n: -len(truth[n].names))[:3]
    made = [Section("Seen from above", [bird_eye(frames[n], truth[n], found[n]) for n in order])] if order else []
    curves = [row for row in scores["bev"] if row.objects]
    if curves:
        made.append(Section("Where it fails", [_curves(curves)]))
    return made


def bird_eye(frame: Frame, truth: Objects, found: Objects) -> Figure:
    """Points, annotated boxes and detections of a score of at least .3, x upwards."""
    scores = found.scores
    shown = scores >= SHOWN if scores is not None else slice(None)
    boxes = found.boxes[shown]
    text = f"A sweep of {len(frame.points)} points from above, {len(truth.names)} objects, {len(boxes)} detections"
    caption = f"Annotated (orange, wide) and detected (blue), scores from {SHOWN:g}; the line points ahead."
    with figure(text, caption, size=(5.2, 5.2)) as (axis, made):
        points = frame.points[:: max(1, len(frame.points) // POINTS)].numpy()
        # One bitmap instead of thousands of circles in the page.
        axis.scatter(-points[:, 1], points[:, 0], s=0.4, color="#888888", linewidths=0, rasterized=True)
        for group, colour, width in ((truth.boxes, COLOURS[1], 2.4), (boxes, COLOURS[0], 1.2)):
            for box, outline in zip(group.double(), corners(group[:, :7].double())[:, :4, :2].numpy(), strict=True):
                ring = np.concatenate([outline, outline[:1]])
                axis.plot(-ring[:, 1], ring[:, 0], color=colour, lw=width)
                ahead = box[:2].numpy() + box[3].item() / 2 * np.array([box[6].cos(), box[6].sin()])
                axis.plot([-box[1], -ahead[1]], [box[0], ahead[0]], color=colour, lw=width)
        axis.set_aspect("equal")
        axis.set_xlabel("metres to the right")
        axis.set_ylabel("metres ahead")
    return made


def _curves(rows: Sequence[Score]) -> Figure:
    text = "Precision over recall seen from above: " + ", ".join(f"{row.name} {row.ap:.0f} %" for row in rows)
    with figure(text, "Precision over recall, seen from above.", size=(5.2, 3.0)) as (axis, made):
        for row in rows:
            axis.plot(100 * row.recalls, 100 * row.precision, label=f"{row.name} ({row.objects})")
        axis.set_xlim(0, 100)
        axis.set_ylim(0, 103)
        axis.set_xlabel("recall in %")
        axis.set_ylabel("precision in %")
        axis.legend(frameon=False)
    return made
