"""One HTML file a person reads: the table, pictures, where it fails, how it was trained.

Self-contained (pictures are inline SVG or PNG, no script), readable on a phone and printed, dark by the reader's
setting.
"""

__all__ = ["COLOURS", "Figure", "Row", "Section", "Table", "figure", "write_report"]

import base64
import csv
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.training.files import writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

    from core.training.task import Evaluation, Task

# Okabe and Ito's colours, which all kinds of colour vision tell apart; the first is the accent.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999"]


@dataclass
class Row:
    """One system of a table.

    Args:
        name: of the system.
        values: column -> number; columns of other protocols are absent.
        note: for example "published, not run here".
        ours: made by this run.
        deviations: column -> standard deviation over seeds.
    """

    name: str
    values: dict[str, float]
    note: str = ""
    ours: bool = False
    deviations: dict[str, float] = field(default_factory=dict)


@dataclass
class Table:
    """Rows of systems, columns of numbers; lower is better unless a column is in `higher`.

    Args:
        title, caption: what is compared; protocol, command, seed, hardware.
        columns: in order.
        rows: baselines among them.
        digits: after the point, of all columns or by column (4 where it is not said).
        higher: columns where higher is better.
    """

    title: str
    columns: list[str]
    rows: list[Row]
    caption: str = ""
    digits: int | Mapping[str, int] = 4
    higher: frozenset[str] = frozenset()

    def text(self, row: Row, column: str) -> str:
        """A number as it is printed, "" where the row has none."""
        if column not in row.values:
            return ""
        digits = self.digits if isinstance(self.digits, int) else self.digits.get(column, 4)
        deviation = f" ± {row.deviations[column]:.{digits}f}" if column in row.deviations else ""
        return f"{row.values[column]:.{digits}f}{deviation}"

    def best(self, column: str) -> set[str]:
        """Names of the rows with the best number of a column."""
        values = {row.name: row.values[column] for row in self.rows if column in row.values}
        if len(values) < 2:
            return set()
        top = (max if column in self.higher else min)(values.values())
        return {name for name, value in values.items() if value == top}


@dataclass
class Figure:
    """A picture, or a sound, with what it shows in words.

    Args:
        source: inline `<svg>` or a `data:` address of an image or of audio.
        text: for readers who do not see it.
        caption: below the picture.
        wide: takes the whole width of the page.
    """

    source: str
    text: str
    caption: str = ""
    wide: bool = False


@dataclass
class Section:
    """A part of the report."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    text: str = ""


@contextmanager
def figure(text: str, caption: str = "", size: tuple[float, float] = (6.4, 3.2)) -> Iterator[tuple[Any, Figure]]:
    """A matplotlib axis to draw on inside the block; the `Figure` is filled when it ends.

    Colours that readers may need inverted (text, axes) are taken from the page.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from cycler import cycler

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "omnimix",
        "font.size": 10,
        "font.family": "sans-serif",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler(color=COLOURS),
    }
    made = Figure("", text, caption)
    with plt.rc_context(style):
        canvas, axis = plt.subplots(figsize=size, layout="constrained")
        yield axis, made
        made.source = _svg(canvas)
        plt.close(canvas)


def _svg(canvas: "Canvas") -> str:
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    for black in ("#000000", "black"):
        svg = svg.replace(f"stroke: {black}", "stroke: currentColor").replace(f"fill: {black}", "fill: currentColor")
    return svg.replace("<text ", '<text fill="currentColor" ')


def concise_dates(axis: Any) -> None:
    """Few, short time stamps on the horizontal axis."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=9)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def png(data: bytes) -> str:
    """A `data:` address for PNG bytes."""
    return "data:image/png;base64," + base64.b64encode(data).decode()


def curves(folder: Path, monitor: str = "val_loss") -> list[Figure]:
    """Training curves from the run's `metrics.csv`: the losses, and what chose the best epoch."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    made = []
    columns = list(rows[0]) if rows else []
    losses = [name for name in columns if name.endswith("loss")]
    charts = {"loss": losses, monitor: [name for name in columns if name == monitor and name not in losses]}
    captions = {"loss": "Training and validation loss.", monitor: f"{monitor}, which chooses the best epoch."}
    for quantity, names in charts.items():
        if not names:
            continue
        with figure(f"{quantity} over optimiser steps", captions[quantity]) as (axis, result):
            for name in names:
                points = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
                axis.plot(*zip(*points, strict=True), label=name, marker="o" if len(points) < 30 else None, ms=3)
            axis.set_xlabel("step")
            axis.set_ylabel(quantity)
            axis.legend(frameon=False)
        made.append(result)
    return made


def write_report(evaluation: "Evaluation", folder: Path, task: "Task", results: dict[str, Any]) -> Path:
    """`report.html` in the run's folder."""
    import jinja2
    import yaml

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("report.html.j2").render(
        evaluation=evaluation,
        results=results,
        curves=curves(folder, task.monitor),
        config=yaml.safe_dump(task.config, sort_keys=False),
        command=task.command,
    )
    path = folder / "report.html"
    with writing(path) as beside:
        beside.write_text(page, encoding="utf-8")
    return path
