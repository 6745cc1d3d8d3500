"""Output files that appear whole or not at all, and the folders of runs."""

__all__ = ["latest_run", "new_run", "refuse_existing", "writing"]

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import UserError


@contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to; renamed to `path` when the block ends, removed when it fails."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def refuse_existing(path: str | Path, overwrite: bool) -> None:
    """Said before the work, not after it.

    Raises:
        UserError: the file is there and may not be replaced, or its folder cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists already; name another file with --out or add --overwrite true.")
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UserError(f"{path}: cannot be written ({existing} is not a writable folder); choose another --out.")


def new_run(root: Path, name: str) -> Path:
    """The next free folder `root/name/<n>`, made; two runs started together get two folders."""
    n = max((int(p.name) for p in (root / name).glob("*") if p.name.isdigit()), default=-1) + 1
    while True:
        folder = root / name / str(n)
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            n += 1


def latest_run(root: Path, name: str, checkpoint: str) -> Path | None:
    """The newest run of this name that holds `checkpoints/<checkpoint>.ckpt`."""
    runs = sorted((p for p in (root / name).glob("*") if p.name.isdigit()), key=lambda p: -int(p.name))
    return next((p for p in runs if (p / "checkpoints" / f"{checkpoint}.ckpt").is_file()), None)
