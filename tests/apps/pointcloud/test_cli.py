"""The commands end to end on a tiny recipe: sweeps in, boxes out, errors, going on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from apps.pointcloud.data.scenes import Scenes
from apps.pointcloud.labels import read_labels
from core.training.launch import main


def omnimix(*words):
    """Exit code of `omnimix pointcloud ...` in this process."""
    with pytest.raises(SystemExit) as end:
        main(["pointcloud", *map(str, words)])
    return end.value.code


def weights(run):
    return torch.load(Path("runs/tiny") / run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture
def sweeps(tmp_path):
    """A drawn sweep as .bin, one without points, one with NaN."""
    folder = tmp_path / "mine"
    folder.mkdir()
    points = Scenes(1, seed=5, azimuth_step=1.0).draw(0).points.numpy()
    points.tofile(folder / "street.bin")
    np.zeros((0, 4), np.float32).tofile(folder / "empty.bin")
    np.save(folder / "broken.npy", np.concatenate([points, np.full((5, 4), np.nan, np.float32)]))
    return folder


def test_fit_evaluate_predict(tiny, sweeps, capsys):
    assert omnimix("fit", "--config", tiny) == 0
    run = Path("runs/tiny/0")
    results = json.loads((run / "results.json").read_text())
    assert np.isfinite(results["metrics"]["Car bev AP"])
    assert any("clusters above the ground" in name for name in results["baselines"])
    page = (run / "report.html").read_text()
    assert "KITTI&#39;s protocol" in page and "Seen from above" in page and "<script" not in page
    assert len(page) < 3e6
    assert omnimix("evaluate", "--config", tiny, "--ckpt_path", "best") == 0
    assert json.loads((run / "results.json").read_text())["metrics"] == results["metrics"]
    assert omnimix("test", "--config", tiny, "--ckpt_path", "best") == 0

    checkpoint = run / "checkpoints/best.ckpt"
    words = ["predict", "--ckpt_path", checkpoint, "--data.files", sweeps, "--out", "found"]
    assert omnimix(*words) == 0
    assert sorted(p.name for p in Path("found").iterdir()) == [
        f"{name}{ending}" for name in ("broken", "empty", "street") for ending in (".json", ".txt")
    ]
    street, broken = (json.loads(Path(f"found/{name}.json").read_text())["boxes"] for name in ("street", "broken"))
    # Points that are not finite change nothing.
    assert street == broken
    assert read_labels(Path("found/street.txt")).count == len(street)
    assert omnimix(*words) == 2
    assert "exists already" in capsys.readouterr().err
    assert omnimix(*words, "--overwrite", "true") == 0


def test_going_on_ends_as_without_interruption(tiny):
    assert omnimix("fit", "--config", tiny) == 0
    assert omnimix("fit", "--config", tiny, "--trainer.max_epochs", "1") == 0
    assert omnimix("fit", "--config", tiny, "--ckpt_path", "last") == 0
    whole, resumed = weights("0"), weights("1")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole if name.startswith("net."))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "found"], "predict needs --data.files"),
        (["--data.files", "nothing.bin", "--out", "found"], "nothing.bin"),
        (["--data.files", "street.bin"], "predict needs --out"),
        (["--data.files", "street.bin", "--out", "one.json"], "name a folder"),
        (["--data.files", "street.bin", "street.bin", "--out", "found"], "two sweeps have this name"),
        (["--data.files", "street.bin", "--out", "found", "--data.classes", "[Car]"], "was trained with"),
        (["--data.files", "street.bin", "--out", "found", "--data.features", "2"], "was trained with"),
    ],
)
def test_one_sentence_for_what_cannot_be(tiny, sweeps, monkeypatch, capsys, words, sentence):
    assert omnimix("fit", "--config", tiny, "--trainer.max_epochs", "1") == 0
    checkpoint = Path("runs/tiny/0/checkpoints/best.ckpt").absolute()
    monkeypatch.chdir(sweeps)
    capsys.readouterr()
    assert omnimix("predict", "--ckpt_path", checkpoint, *words) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert sorted(p.name for p in sweeps.iterdir()) == ["broken.npy", "empty.bin", "street.bin"]


def test_a_range_that_is_no_whole_number_of_voxels(tiny, capsys):
    words = ["--data.point_range", "[0, -25.6, -3, 51.5, 25.6, 1]"]
    assert omnimix("fit", "--config", tiny, *words) == 2
    error = capsys.readouterr().err
    assert "end at 51.2" in error and error.count("\n") == 1


def test_own_folder(tiny, tmp_path, capsys):
    """Sweeps and labels as OpenPCDet asks for; a misspelt class is told with its file."""
    folder = tmp_path / "own"
    (folder / "points").mkdir(parents=True)
    (folder / "labels").mkdir()
    for number, item in enumerate(Scenes(4, seed=3, azimuth_step=1.0).items()):
        frame = item.load()
        np.save(folder / "points" / f"{number}.npy", frame.points.numpy())
        rows = [
            " ".join(f"{v:.3f}" for v in box[:7].tolist()) + f" {name}"
            for box, name in zip(frame.boxes, frame.names, strict=True)
        ]
        (folder / "labels" / f"{number}.txt").write_text("\n".join(rows))
    words = ["--data.path", folder, "--data.validation", "null", "--data.test", "null", "--data.ignored", "[Van]"]
    assert omnimix("fit", "--config", tiny, *words) == 0
    assert "own: 1 sweeps" in capsys.readouterr().out
    (folder / "labels" / "2.txt").write_text("10 0 -1 4 1.6 1.5 0 Carr\n")
    assert omnimix("fit", "--config", tiny, *words) == 2
    error = capsys.readouterr().err
    assert "2.txt" in error and "Carr" in error and error.count("\n") == 1
