"""Where public sets lie on this machine."""

__all__ = ["data_folder", "lines", "needed"]

import os
from pathlib import Path

from core.errors import UserError


def data_folder(name: str, path: str | None = None) -> Path:
    """`path` if given, else `segmentation/<name>` below $OMNIMIX_DATA, by default below `data`."""
    if path is not None:
        return Path(path)
    return Path(os.environ.get("OMNIMIX_DATA") or "data") / "segmentation" / name


def needed(path: Path, record: str) -> Path:
    """`path`, if it is there.

    Raises:
        UserError: it is not; the sentence says where to get it.
    """
    if not path.exists():
        raise UserError(f"{path}: not found; download {record}, or name another root folder in OMNIMIX_DATA.")
    return path


def lines(path: Path) -> list[str]:
    """Lines of a split file that are not empty.

    Raises:
        UserError: missing or empty.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: not found; it lists the names of the images, one a line.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is no text file; it lists the names of the images, one a line.") from None
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise UserError(f"{path}: is empty; it lists the names of the images, one a line.")
    return found
