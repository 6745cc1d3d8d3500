"""What the protocols keep: one file for every finished (set, seed), and the numbers of all in one JSON.

`runs/protocols/<protocol>_<recipe>/<set>_<seed>_<digest>.npz` holds a run's forecasts and its seconds, the digest
being that of every setting: a run that is there is not done again, one with other settings stands beside it, and
two processes may work on different sets at once.  `runs/protocols/<protocol>_<recipe>.json` is written from them.
"""

__all__ = ["Arrays", "Store", "seeds_row"]

import hashlib
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.training.files import writing
from core.training.report import Row

Arrays = dict[str, NDArray[np.float64]]


class Store:
    """Finished runs of one protocol, recipe and choice of settings.

    Args:
        folder: where protocols are kept.
        name: protocol and recipe.
        settings: everything that changes a result, of plain values.
    """

    def __init__(self, folder: str | Path, name: str, settings: dict[str, Any]):
        self.folder, self.name, self.settings = Path(folder), name, settings
        text = json.dumps(settings, sort_keys=True, default=str)
        self.digest = hashlib.sha256(text.encode()).hexdigest()[:8]

    def _path(self, data: str, seed: int) -> Path:
        return self.folder / self.name / f"{data}_{seed}_{self.digest}.npz"

    def get(self, data: str, seed: int) -> Arrays | None:
        """What a finished run has left, None if there is none."""
        path = self._path(data, seed)
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as kept:
            return {key: kept[key] for key in kept.files}

    def put(self, data: str, seed: int, arrays: Arrays) -> None:
        """Keeps a finished run; the file appears whole or not at all."""
        with writing(self._path(data, seed)) as path, path.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    def write(self, results: dict[str, Any]) -> Path:
        """`<name>.json` with the settings and the numbers of a table."""
        path = self.folder / f"{self.name}.json"
        with writing(path) as beside:
            content = {"protocol": self.name, "settings": self.settings, "digest": self.digest, **results}
            beside.write_text(json.dumps(content, indent=2, default=str) + "\n")
        return path


def seeds_row(name: str, runs: Sequence[dict[str, float]]) -> Row:
    """Mean and sample deviation of each column over seeds."""
    columns = list(runs[0])
    return Row(
        name,
        {c: statistics.fmean(run[c] for run in runs) for c in columns},
        note=f"{len(runs)} seeds" if len(runs) > 1 else "",
        ours=True,
        deviations={c: statistics.stdev(run[c] for run in runs) for c in columns} if len(runs) > 1 else {},
    )
