"""Where public data sets lie on this machine, and the sentence that says where to get a missing one."""

__all__ = ["data_folder", "find_file"]

import os
from pathlib import Path

from core.errors import UserError


def data_folder(name: str, path: str | Path | None = None) -> Path:
    """The folder of a set: `path` if given, else `timeseries/<name>` below $OMNIMIX_DATA, by default below `data`."""
    if path is not None:
        return Path(path)
    return Path(os.environ.get("OMNIMIX_DATA") or "data") / "timeseries" / name


def find_file(folder: Path, stem: str, record: str) -> Path:
    """`stem`.csv.gz or `stem`.csv in a folder.

    Raises:
        UserError: neither is there; the sentence names `record`, the public place to download it from.
    """
    for suffix in (".csv.gz", ".csv"):
        if (folder / (stem + suffix)).is_file():
            return folder / (stem + suffix)
    raise UserError(
        f"{folder / stem}.csv.gz: not found; download {stem}.csv from {record} into {folder} "
        "(as .csv or .csv.gz), or name another root folder in OMNIMIX_DATA."
    )
