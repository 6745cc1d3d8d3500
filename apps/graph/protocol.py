"""`python -m apps.graph.protocol RECIPE ...`: recipes over official splits and seeds, in one table.

    python -m apps.graph.protocol tuned_gcn_minesweeper sage_minesweeper --splits 0-9
    python -m apps.graph.protocol gcn_cora gat_cora --seeds 0-9

Every run is trained as `omnimix graph fit` trains it and valued at the epoch of best validation; the table has mean and
deviation over all runs, with baselines without a network over the same splits and the published values.  Recipes must
be about one data set.  `--set option=value` (as `--set trainer.max_epochs=5`) changes all of them.
Finished runs are kept in `runs/protocols` and not done again.
"""

__all__ = ["main"]

import argparse
import statistics
import sys

import numpy as np

import apps.graph.models  # noqa: F401 (so that a recipe finds networks by their class names)
from apps.graph.baselines import baselines
from apps.graph.data.datamodule import GraphData
from apps.graph.evaluate import collect
from apps.graph.metrics import accuracy
from apps.graph.published import PUBLISHED
from apps.graph.task import NodeTask
from core.errors import UserError
from core.training.protocol import command, numbers
from core.training.repeated import Training
from core.training.report import Row, Table
from core.training.results import hardware
from core.training.store import Arrays, Store, seeds_row


def main(arguments: list[str]) -> int:
    """The exit code: 0 done, 2 something to mend."""
    return command("apps.graph.protocol", __doc__ or "", compare, arguments, ("--splits", "--seeds"))


def compare(options: argparse.Namespace, line: str) -> Table:
    """One row a recipe, then baselines and published systems."""
    splits, seeds = numbers("--splits", options.splits), numbers("--seeds", options.seeds)
    words = [f"--{word}" for word in options.set]
    rows, label, kind, plain = [], "", "", []
    for name in options.recipes:
        training = Training("graph", NodeTask, GraphData, name, words)
        data = training.made().data
        if label and data.label != label:
            raise UserError(
                f"{name}: is about {data.label}, the recipe before it about {label}; give those of one set."
            )
        if not label:
            label, kind = data.label, "accuracy" if data.nodes.metric is accuracy else "area under the ROC curve"
            plain = [baselines(data.nodes, parts_of(data, split)) for split in splits]
        store = Store(options.folder, training.name, training.settings)
        runs, seconds = [], []
        for split in splits:
            for seed in seeds:
                kept = store.get(f"split{split}", seed)
                if kept is None:
                    print(f"{training.name}, split {split}, seed {seed}", flush=True)
                    kept = once(training, split, seed)
                    store.put(f"split{split}", seed, kept)
                runs.append({part: 100 * float(kept[part]) for part in ("test", "validation")})
                seconds.append(float(kept["seconds"]))
        row = seeds_row(f"{training.label}, {training.name}", runs)
        row.note = f"{len(runs)} runs, {statistics.fmean(seconds):.0f} s each"
        rows.append(row)
        store.write(
            {"command": line, "hardware": hardware(), "runs": runs, "mean": row.values, "deviation": row.deviations}
        )
    for name in plain[0]:
        if all(name in found for found in plain):
            own = [{"test": 100 * found[name][1], "validation": 100 * found[name][0]} for found in plain]
            row = seeds_row(name, own)
            row.ours = False
            rows.append(row)
    for name, (value, deviation) in PUBLISHED.get(label, {}).items():
        rows.append(
            Row(name, {"test": value}, "published", deviations={} if deviation is None else {"test": deviation})
        )
    return Table(
        f"{label}: {kind} in percent",
        ["test", "validation"],
        rows,
        f"`{line}`; splits {options.splits}, seeds {options.seeds}; epoch of best validation; {hardware()}.",
        digits=2,
        higher=frozenset(["test", "validation"]),
    )


def parts_of(data: GraphData, split: int):
    """Ids of a split."""
    data.split = split
    data.__dict__.pop("parts", None)
    return data.parts


def once(training: Training, split: int, seed: int) -> Arrays:
    """One training; test and validation value in 0 .. 1, and seconds."""

    def change(data: GraphData) -> None:
        data.split = split

    fitted = training.fit(seed, change)
    metric, found = fitted.data.nodes.metric, {}
    for part in ("validation", "test"):
        made = collect(fitted.task, fitted.trainer, fitted.data, part, None)
        found[part] = np.array(metric(made.scores, made.labels))
    return found | {"seconds": np.array(fitted.seconds)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
