"""ETT: oil temperature (OT) of four Chinese transformers with six load columns, 2016-07 to 2018-06.

ETTh1 and ETTh2 are hourly, ETTm1 and ETTm2 every 15 minutes. The published split counts months of 30 days:
12 train, 4 validation, 4 test; the rows after 20 months are not used. The six loads are measurements, not known for
the hours to be predicted: with one target they are past-only columns.
"""

__all__ = ["COLUMNS", "SETS", "ett_split", "read_ett"]

from collections.abc import Sequence
from pathlib import Path

import torch

from core.errors import UserError, nearest

from .public import data_folder, find_file
from .series import Panel
from .splits import Split
from .table import Columns, read_table

SETS = ("ETTh1", "ETTh2", "ETTm1", "ETTm2")
COLUMNS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")


def read_ett(name: str, path: str | Path | None = None, target: Sequence[str] = COLUMNS) -> Panel:
    """One ETT file as a panel with one series.

    Args:
        name: "ETTh1", "ETTh2", "ETTm1" or "ETTm2".
        path: folder with the files (default: `timeseries/ett` below $OMNIMIX_DATA or `data`).
        target: columns to forecast, all seven in the multivariate protocol; the others are past-only.

    Raises:
        UserError: unknown set or target, missing file.
    """
    if name not in SETS:
        raise UserError(f"ETT set {name!r} is unknown; choose one of {', '.join(SETS)}.{nearest(name, SETS)}")
    file = find_file(data_folder("ett", path), name, "https://github.com/zhouhaoyi/ETDataset (folder ETT-small)")
    others = tuple(column for column in COLUMNS if column not in target)
    columns = Columns(target=target, timestamp="date", past_only=others)
    return read_table(file, columns, freq="h" if name.startswith("ETTh") else "15min", item=name)


def ett_split(panel: Panel, name: str) -> Split:
    """12, 4 and 4 months of 30 days: 8,640 / 2,880 / 2,880 hourly rows, four times as many every 15 minutes.

    Raises:
        UserError: fewer rows than that.
    """
    month = 30 * (24 if name.startswith("ETTh") else 96)
    if int(panel.history.min()) < 20 * month:
        raise UserError(
            f"{panel.source}: has {int(panel.history.min()):,} rows, the published split needs {20 * month:,}; "
            "download it again."
        )
    bounds = ((0, 12 * month), (12 * month, 16 * month), (16 * month, 20 * month))
    return Split(*(torch.tensor([part]).expand(len(panel), 2) for part in bounds))
