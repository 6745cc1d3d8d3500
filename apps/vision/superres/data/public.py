"""Where public image sets lie on this machine, and the sentence that says where to get a missing one."""

__all__ = ["data_folder", "first_folder"]

import os
from pathlib import Path

from core.errors import UserError


def data_folder(name: str, path: str | Path | None = None) -> Path:
    """The folder of a set: `path` if given, else `superres/<name>` below $OMNIMIX_DATA, by default below `data`."""
    if path is not None:
        return Path(path)
    return Path(os.environ.get("OMNIMIX_DATA") or "data") / "superres" / name


def first_folder(folder: Path, names: tuple[str, ...], record: str) -> Path:
    """The first of the sub-folders that exists ("" stands for the folder itself).

    Raises:
        UserError: there is none; the sentence names `record`, the public place to download the set from.
    """
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    raise UserError(
        f"{folder}: not found; download {record} and put its images into {folder / names[0]}, or name another root "
        "folder in OMNIMIX_DATA."
    )
