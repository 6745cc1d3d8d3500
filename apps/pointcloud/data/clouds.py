"""Files of points: .bin, .npy, .ply and .pcd to (N, 3 + F) float32, nothing in them executed.

    .bin   float32 numbers, `columns` a point, x y z first (KITTI: 4; nuScenes' .pcd.bin: 5)
    .npy   (N, 3 or more), any number type, without pickled objects
    .ply   ascii, binary little or big endian; the element `vertex` with scalar properties x, y, z
    .pcd   version .7 of the Point Cloud Library, ascii or binary; fields x, y, z

Of .ply and .pcd the fields of the intensity (by one of its usual names) are the feature, zeros where there is none, so
that they give four columns. A file of no points is a sweep of no points. LZF-compressed .pcd is not read.
"""

__all__ = ["SUFFIXES", "list_clouds", "read_cloud"]

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import UserError

INTENSITY = ("intensity", "reflectance", "reflectivity", "remission", "i", "scalar_intensity")
PLY_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
HEADER = 2**16
"""Bytes within which a header must end."""


def read_cloud(path: str | Path, columns: int = 4) -> Tensor:
    """(N, 3 + F) float32.

    Args:
        path: the ending says the format.
        columns: of a .bin file.

    Raises:
        UserError: not there, truncated, or not of the format its ending says.
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise UserError(f"{path}: is none of {', '.join(SUFFIXES)}; convert it.")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: not found; check the name.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and left out like other numbers that are not finite
        points = READERS[path.suffix.lower()](path, data, columns).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(points))


def list_clouds(folder: str | Path) -> list[Path]:
    """The sweeps of a folder, its folders included, sorted.

    Raises:
        UserError: there is no such folder, or nothing in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; name one with sweeps ({', '.join(SUFFIXES)}).")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise UserError(f"{folder}: holds no sweeps; they end in {', '.join(SUFFIXES)}.")
    return found


def _bin(path: Path, data: bytes, columns: int) -> NDArray:
    if len(data) % (4 * columns):
        raise UserError(
            f"{path}: has {len(data)} bytes, which is no multiple of {4 * columns} ({columns} float32 columns); it is "
            "truncated, or has other columns."
        )
    return np.frombuffer(data, "<f4").reshape(-1, columns)


def _npy(path: Path, data: bytes, columns: int) -> NDArray:
    try:
        points = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path}: is not a .npy array of numbers ({error}).") from None
    if not isinstance(points, np.ndarray) or points.ndim != 2 or points.shape[1] < 3 or points.dtype.kind not in "fiu":
        shape = getattr(points, "shape", "several arrays")
        raise UserError(f"{path}: holds {shape}; points are an array (N, 3 or more) of numbers.")
    return points


def _ply(path: Path, data: bytes, columns: int) -> NDArray:
    lines, body = _header(path, data, b"end_header")
    if not lines or lines[0] != "ply":
        raise UserError(f"{path}: does not begin with 'ply'; it is another format.")
    layout, fields, count, element = "", [], 0, ""
    for line in lines[1:]:
        words = line.split()
        if not words or words[0] in ("comment", "obj_info"):
            continue
        if words[0] == "format" and len(words) > 1:
            layout = words[1]
        elif words[0] == "element" and len(words) == 3:
            if not element and words[1] != "vertex":
                raise UserError(f"{path}: begins with the element {words[1]}; the vertices must come first.")
            element = words[1]
            if element == "vertex":
                count = _whole(path, words[2])
        elif words[0] == "property" and element == "vertex":
            if len(words) != 3 or words[1] not in PLY_TYPES:
                raise UserError(f"{path}: has a vertex property '{line}'; only scalar ones are read.")
            fields.append((words[2], PLY_TYPES[words[1]]))
    if layout == "ascii":
        return _named(path, _ascii(path, body, count, len(fields)), [name for name, _ in fields])
    orders = {"binary_little_endian": "<", "binary_big_endian": ">"}
    if layout not in orders:
        raise UserError(f"{path}: has the format '{layout}'; it must be ascii, binary_little_endian or _big_endian.")
    return _records(path, body, count, [(name, orders[layout] + kind, 1) for name, kind in fields])


def _pcd(path: Path, data: bytes, columns: int) -> NDArray:
    lines, body = _header(path, data, b"DATA")
    facts = {words[0].upper(): words[1:] for line in lines if (words := line.split()) and words[0] != "#"}
    names, sizes, kinds = (facts.get(key, []) for key in ("FIELDS", "SIZE", "TYPE"))
    if not names or not len(names) == len(sizes) == len(kinds):
        raise UserError(f"{path}: its FIELDS, SIZE and TYPE do not belong together; it is no .pcd of version .7.")
    counts = [_whole(path, word) for word in facts.get("COUNT", ["1"] * len(names))]
    number = _whole(path, (facts.get("POINTS") or ["?"])[0])
    layout = (facts.get("DATA") or ["?"])[0].lower()
    if len(counts) != len(names):
        raise UserError(f"{path}: has {len(names)} FIELDS and {len(counts)} COUNT; it is no .pcd of version .7.")
    if layout == "ascii":
        spread = [name for name, times in zip(names, counts, strict=True) for name in [name] * times]
        return _named(path, _ascii(path, body, number, len(spread)), spread)
    if layout != "binary":
        raise UserError(f"{path}: its DATA is {layout}; save it as binary or ascii.")
    fields = []
    for name, size, kind, times in zip(names, sizes, kinds, counts, strict=True):
        code = {"F": "f", "I": "i", "U": "u"}.get(kind.upper(), "?") + size
        if code not in ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"):
            raise UserError(
                f"{path}: its field {name} has TYPE {kind} and SIZE {size}; F, I and U of 1 to 8 bytes are."
            )
        fields.append((name, "<" + code, times))
    return _records(path, body, number, fields)


READERS: dict[str, Callable[[Path, bytes, int], NDArray]] = {".bin": _bin, ".npy": _npy, ".ply": _ply, ".pcd": _pcd}
SUFFIXES = tuple(READERS)


def _header(path: Path, data: bytes, last: bytes) -> tuple[list[str], bytes]:
    """Lines up to the one that begins with `last`, and what follows it."""
    at = 0
    lines = []
    while at < min(len(data), HEADER):
        end = data.find(b"\n", at)
        line = data[at : len(data) if end < 0 else end]
        at = len(data) if end < 0 else end + 1
        lines.append(line.decode("ascii", "replace").strip())
        if line.startswith(last):
            return lines, data[at:]
    raise UserError(f"{path}: its header has no line {last.decode()}; it is truncated or another format.")


def _whole(path: Path, word: str) -> int:
    if not word.isdigit():
        raise UserError(f"{path}: its header says '{word}' where a number belongs; it is broken.")
    return int(word)


def _ascii(path: Path, body: bytes, count: int, width: int) -> NDArray:
    words = body.split()
    if width == 0 or len(words) < count * width:
        raise UserError(f"{path}: announces {count} points of {width} numbers and holds {len(words)}; it is truncated.")
    try:
        return np.array(words[: count * width], dtype=np.float64).reshape(count, width)
    except ValueError as error:
        raise UserError(f"{path}: {error}; its points must be numbers.") from None


def _records(path: Path, body: bytes, count: int, fields: list[tuple[str, str, int]]) -> NDArray:
    kind = np.dtype([(f"f{n}", code, (times,)) for n, (_, code, times) in enumerate(fields)])
    if kind.itemsize == 0 or len(body) < count * kind.itemsize:
        raise UserError(
            f"{path}: announces {count} points of {kind.itemsize} bytes and holds {len(body)} bytes; it is truncated."
        )
    table = np.frombuffer(body, kind, count)
    names = [name for name, _, _ in fields]
    # Fields may have equal names ('_' pads), so they are told apart by their number.
    columns = {name: table[f"f{n}"][:, :1] for n, name in reversed(list(enumerate(names))) if fields[n][2] > 0}
    return _named(path, np.concatenate([c.astype(np.float64) for c in columns.values()], 1), list(columns))


def _named(path: Path, values: NDArray, names: list[str]) -> NDArray:
    """x, y, z and the intensity, of columns with names."""
    at = {name.lower(): n for n, name in reversed(list(enumerate(names)))}
    missing = [axis for axis in "xyz" if axis not in at]
    if missing:
        raise UserError(f"{path}: has no field {missing[0]}; its fields are {', '.join(names)}.")
    feature = next((at[name] for name in INTENSITY if name in at), None)
    zeros = np.zeros((len(values), 1))
    own = zeros if feature is None else values[:, feature : feature + 1]
    return np.concatenate([values[:, [at["x"], at["y"], at["z"]]], own], 1)
