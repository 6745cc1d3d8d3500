"""Where public sets of sweeps lie on this machine, and the sentence that says where to get a missing one."""

__all__ = ["data_folder", "must_exist"]

import os
from pathlib import Path

from core.errors import UserError


def data_folder(name: str, path: str | Path | None = None) -> Path:
    """The folder of a set: `path` if given, else `pointcloud/<name>` below $OMNIMIX_DATA, by default below `data`."""
    if path is not None:
        return Path(path)
    return Path(os.environ.get("OMNIMIX_DATA") or "data") / "pointcloud" / name


def must_exist(path: Path, record: str) -> Path:
    """`path`, a file or a folder.

    Raises:
        UserError: it is not there; the sentence names `record`, the public place of the set.
    """
    if path.exists():
        return path
    raise UserError(f"{path}: not found; get {record}, or name another root folder in OMNIMIX_DATA.")
