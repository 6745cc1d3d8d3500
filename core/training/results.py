"""What an evaluation leaves: the table on the terminal, `results.json` and `report.html`."""

__all__ = ["hardware", "publish", "render"]

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from core.training.files import writing

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from core.training.report import Table
    from core.training.task import Evaluation, Task


def hardware() -> str:
    """Processor, threads and GPU in a few words."""
    names = [
        line.split(":", 1)[1].strip()
        for line in (Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else [])
        if line.startswith("model name")
    ]
    processor = names[0] if names else platform.processor() or platform.machine()
    text = f"{processor}, {torch.get_num_threads()} threads"
    return f"{torch.cuda.get_device_name()}, {text}" if torch.cuda.is_available() else text


def render(table: "Table") -> str:
    """A table for the terminal: names left, numbers right, the best of each comparable column marked."""
    cells = [["", *table.columns]] + [
        [row.name + (f" ({row.note})" if row.note else ""), *(table.text(row, column) for column in table.columns)]
        for row in table.rows
    ]
    widths = [max(len(line[n]) for line in cells) for n in range(len(cells[0]))]
    lines = [
        "  ".join(c.ljust(w) if n == 0 else c.rjust(w) for n, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in cells
    ]
    return "\n".join([table.title, *lines, *([table.caption] if table.caption else [])])


def publish(evaluation: "Evaluation", folder: Path, task: "Task", trainer: "pl.Trainer") -> None:
    """Prints the tables and writes `results.json` and `report.html` into the run's folder."""
    from core.training.report import write_report

    results: dict[str, Any] = {
        "task": evaluation.task,
        "protocol": evaluation.protocol,
        "data": evaluation.data,
        "split": evaluation.split,
        "model": evaluation.model,
        "seed": task.config.get("seed_everything"),
        "metrics": evaluation.metrics,
        "baselines": {row.name: row.values for table in evaluation.tables for row in table.rows if not row.ours},
        "hardware": hardware(),
        "seconds": evaluation.seconds,
        "version": version("omnimix"),
    }
    with writing(folder / "results.json") as path:
        path.write_text(json.dumps(results, indent=2) + "\n")
    for table in evaluation.tables:
        print("\n" + render(table))
    report = write_report(evaluation, folder, task, results)
    print(f"\nreport: {report}", flush=True)
