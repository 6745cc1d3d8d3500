"""Where public graphs lie on this machine, and the sentence that says where to get a missing one."""

__all__ = ["data_folder", "must_exist", "read_arrays"]

import os
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError


def data_folder(name: str, path: str | Path | None = None) -> Path:
    """The folder of a set: `path` if given, else `graph/<name>` below $OMNIMIX_DATA, by default below `data`."""
    if path is not None:
        return Path(path)
    return Path(os.environ.get("OMNIMIX_DATA") or "data") / "graph" / name


def must_exist(path: Path, record: str) -> Path:
    """`path`, a file or a folder.

    Raises:
        UserError: it is not there; the sentence names `record`, the public place of the set.
    """
    if path.exists():
        return path
    raise UserError(f"{path}: not found; get {record}, or name another root folder in OMNIMIX_DATA.")


def read_arrays(path: Path, names: tuple[str, ...], record: str) -> dict[str, NDArray]:
    """Arrays of a .npz file, nothing in it executed.

    Raises:
        UserError: it is not there, broken, or lacks an array.
    """
    try:
        with np.load(must_exist(path, record), allow_pickle=False) as stored:
            return {name: stored[name] for name in names}
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is broken or another file ({str(error)[:120]}); copy it again.") from None
