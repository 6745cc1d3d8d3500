"""Where public sets of speech lie on this machine, and the sentence that says where to get a missing one."""

__all__ = ["data_folder", "part_folder"]

import os
from pathlib import Path

from core.errors import UserError, nearest


def data_folder(name: str, path: str | Path | None = None) -> Path:
    """The folder of a set: `path` if given, else `audio/<name>` below $OMNIMIX_DATA, by default below `data`."""
    if path is not None:
        return Path(path)
    return Path(os.environ.get("OMNIMIX_DATA") or "data") / "audio" / name


def part_folder(folder: Path, part: str, record: str) -> Path:
    """`folder/part`.

    Raises:
        UserError: it is not there; the sentence names the parts that are, or `record`, the public place of the set.
    """
    if (folder / part).is_dir():
        return folder / part
    if folder.is_dir():
        there = sorted(p.name for p in folder.iterdir() if p.is_dir())
        listed = f" It has {', '.join(there[:8])}." if there else ""
        raise UserError(f"{folder}: has no folder {part}.{listed}{nearest(part, there)}")
    raise UserError(f"{folder}: not found; get {record}, or name another root folder in OMNIMIX_DATA.")
