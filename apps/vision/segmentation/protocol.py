"""`python -m apps.vision.segmentation.protocol RECIPE ...`: recipes over seeds, in one table.

    python -m apps.vision.segmentation.protocol unet_camvid resnet_fpn_camvid --seeds 0-2

Every run is trained as `omnimix segmentation fit` trains it and tested at the epoch of best validation; the table has
mean and deviation over the seeds, with the commonest class of each place and the published values.  Recipes must be
about one data set.  `--set option=value` (as `--set trainer.max_epochs=5`) changes all of them.
Finished runs are kept in `runs/protocols` and not done again.
"""

__all__ = ["main"]

import argparse
import statistics
import sys

import numpy as np

import apps.vision.segmentation.models  # noqa: F401 (so that a recipe finds networks by their class names)
from apps.vision.segmentation.data.datamodule import SegmentationData
from apps.vision.segmentation.evaluate import COLUMNS, collect, of_places, published, values
from apps.vision.segmentation.metrics.confusion import scores
from apps.vision.segmentation.pictures import sum_of
from apps.vision.segmentation.task import SegmentationTask
from core.errors import UserError
from core.training.protocol import command, numbers
from core.training.repeated import Training
from core.training.report import Row, Table
from core.training.results import hardware
from core.training.store import Arrays, Store, seeds_row


def main(arguments: list[str]) -> int:
    """The exit code: 0 done, 2 something to mend."""
    return command("apps.vision.segmentation.protocol", __doc__ or "", compare, arguments)


def compare(options: argparse.Namespace, line: str) -> Table:
    """One row a recipe, then the baseline and published systems."""
    seeds, words = numbers("--seeds", options.seeds), [f"--{word}" for word in options.set]
    rows: list[Row] = []
    first: SegmentationData | None = None
    for name in options.recipes:
        training = Training("segmentation", SegmentationTask, SegmentationData, name, words)
        data = training.made().data
        if first is None:
            first = data
        elif data.label != first.label:
            raise UserError(
                f"{name}: is about {data.label}, the recipe before it about {first.label}; give those of one set."
            )
        store = Store(options.folder, training.name, training.settings)
        runs, seconds = [], []
        for seed in seeds:
            kept = store.get("test", seed)
            if kept is None:
                print(f"{training.name}, seed {seed}", flush=True)
                kept = once(training, seed)
                store.put("test", seed, kept)
            runs.append({column: float(kept[column]) for column in (*COLUMNS, "PQ") if column in kept})
            seconds.append(float(kept["seconds"]))
        row = seeds_row(training.name, runs)
        row.note = f"{len(runs)} seeds, {statistics.fmean(seconds):.0f} s each"
        rows.append(row)
        store.write(
            {"command": line, "hardware": hardware(), "runs": runs, "mean": row.values, "deviation": row.deviations}
        )
    assert first is not None
    rows += [of_places(first)[0], *published(first)]
    columns = [*COLUMNS, *(["PQ"] if any("PQ" in row.values for row in rows) else [])]
    return Table(
        f"{first.label}: percent of the test images",
        columns,
        rows,
        f"`{line}`; seeds {options.seeds}; epoch of best validation; one confusion matrix at label size; {hardware()}.",
        digits=1,
        higher=frozenset(columns),
    )


def once(training: Training, seed: int) -> Arrays:
    """One training; percent, and seconds."""
    fitted = training.fit(seed)
    samples, objects = collect(fitted.task, fitted.trainer, fitted.data, None)
    found = values(scores(sum_of(samples)))
    if objects is not None:
        found["PQ"] = 100 * objects.panoptic.all.pq
    return {name: np.array(value) for name, value in (found | {"seconds": fitted.seconds}).items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
