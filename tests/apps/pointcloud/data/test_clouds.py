"""Files of points, whole and broken."""

import numpy as np
import pytest
import torch

from apps.pointcloud.data.clouds import list_clouds, read_cloud
from core.errors import UserError

POINTS = np.array([[1.5, -2, 0.25, 0.5], [3, 4, 5, 0.75], [-7, 8, -9, 0]], np.float32)


def ply(layout: str, body: bytes, more: str = "") -> bytes:
    head = f"ply\nformat {layout} 1.0\ncomment made here\nelement vertex 3\nproperty float x\nproperty float y\n" \
           f"property double z\nproperty uchar red\nproperty float intensity\n{more}end_header\n"  # fmt: skip
    return head.encode() + body


def records(order: str) -> bytes:
    kind = [("x", order + "f4"), ("y", order + "f4"), ("z", order + "f8"), ("red", "u1"), ("i", order + "f4")]
    table = np.zeros(3, kind)
    for n, name in enumerate(("x", "y", "z", "i")):
        table[name] = POINTS[:, n]
    return table.tobytes()


def pcd(layout: str, body: bytes, points: int = 3) -> bytes:
    return (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z _ intensity\nSIZE 4 4 4 1 4\nTYPE F F F U F\nCOUNT 1 1 1 4 1\n"
        f"WIDTH {points}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {points}\nDATA {layout}\n"
    ).encode() + body


def packed() -> bytes:
    table = np.zeros(3, [("p", "<f4", 3), ("pad", "u1", 4), ("i", "<f4")])
    table["p"], table["i"], table["pad"] = POINTS[:, :3], POINTS[:, 3], 255
    return table.tobytes()


ASCII_PLY = b"\n".join(b"%g %g %g 9 %g" % tuple(row) for row in POINTS)
ASCII_PCD = b"\n".join(b"%g %g %g 1 2 3 4 %g" % tuple(row) for row in POINTS)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.bin", POINTS.tobytes()),
        ("ascii.ply", ply("ascii", ASCII_PLY)),
        ("little.PLY", ply("binary_little_endian", records("<"))),
        ("big.ply", ply("binary_big_endian", records(">"))),
        (
            "faces.ply",
            ply("ascii", ASCII_PLY + b"\n3 0 1 2", "element face 1\nproperty list uchar int vertex_indices\n"),
        ),
        ("ascii.pcd", pcd("ascii", ASCII_PCD)),
        ("binary.pcd", pcd("binary", packed())),
    ],
)
def test_equal_in_every_format(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    assert torch.equal(read_cloud(tmp_path / name), torch.from_numpy(POINTS))


def test_npy_and_other_columns(tmp_path):
    np.save(tmp_path / "a.npy", POINTS.astype(np.float64))
    assert torch.equal(read_cloud(tmp_path / "a.npy"), torch.from_numpy(POINTS))
    (tmp_path / "b.bin").write_bytes(np.arange(10, dtype=np.float32).tobytes())
    assert read_cloud(tmp_path / "b.bin", columns=5).shape == (2, 5)


def test_without_intensity_it_is_zero(tmp_path):
    fields = "".join(f"property float {axis}\n" for axis in "zyx")
    (tmp_path / "a.ply").write_text(f"ply\nformat ascii 1.0\nelement vertex 1\n{fields}end_header\n1 2 3\n")
    assert read_cloud(tmp_path / "a.ply").tolist() == [[3, 2, 1, 0]]


def test_no_points_is_an_empty_sweep(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"")
    np.save(tmp_path / "a.npy", np.zeros((0, 4), np.float32))
    (tmp_path / "a.pcd").write_bytes(pcd("binary", b"", 0))
    for name in ("a.bin", "a.npy", "a.pcd"):
        assert read_cloud(tmp_path / name).shape == (0, 4)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.bin",
            POINTS.tobytes()[:-3],
            r"a\.bin: has 45 bytes, which is no multiple of 16 \(4 float32 columns\); it is t",
        ),
        ("a.npy", b"no array", "is not a .npy array of numbers"),
        ("a.npy", b"", "is not a .npy array of numbers"),
        ("a.ply", b"plx\nend_header\n", "does not begin with 'ply'"),
        ("a.ply", b"ply\nformat ascii 1.0\n", "has no line end_header"),
        ("a.ply", ply("ascii", ASCII_PLY[:-9]), "announces 3 points of 5 numbers and holds 1"),
        ("a.ply", ply("ascii", ASCII_PLY.replace(b"4", b"four")), "its points must be numbers"),
        ("a.ply", ply("binary_little_endian", records("<")[:-1]), "announces 3 points of 21 bytes and holds 62 bytes"),
        ("a.ply", ply("zip", b""), "has the format 'zip'"),
        (
            "a.ply",
            ply("ascii", ASCII_PLY).replace(b"float y", b"float why"),
            "has no field y; its fields are x, why, z",
        ),
        ("a.ply", ply("ascii", b"").replace(b"vertex 3", b"vertex three"), "says 'three' where a number belongs"),
        ("a.pcd", pcd("binary", packed()[:-1]), "announces 3 points of 20 bytes"),
        ("a.pcd", pcd("binary_compressed", b""), "its DATA is binary_compressed; save it as binary or ascii"),
        ("a.pcd", pcd("ascii", b"").replace(b"SIZE 4 4", b"SIZE 4"), "FIELDS, SIZE and TYPE do not belong together"),
        ("a.pcd", pcd("binary", b"").replace(b"TYPE F", b"TYPE X"), "field x has TYPE X and SIZE 4"),
        ("a.xyz", b"1 2 3", "is none of .bin, .npy, .ply, .pcd"),
    ],
)
def test_broken_files_are_one_sentence(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_cloud(tmp_path / name)


def test_no_pickled_objects(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"is not a \.npy array of numbers"):
        read_cloud(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.zeros((3, 2)))
    with pytest.raises(UserError, match=r"holds \(3, 2\); points are an array"):
        read_cloud(tmp_path / "b.npy")


def test_folders(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.bin", "a.npy", "deep/c.ply", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in list_clouds(tmp_path)] == ["a.npy", "b.bin", "c.ply"]
    with pytest.raises(UserError, match="is not a folder"):
        list_clouds(tmp_path / "nowhere")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no sweeps"):
        list_clouds(tmp_path / "none")
    with pytest.raises(UserError, match="not found; check the name"):
        read_cloud(tmp_path / "nowhere.bin")
