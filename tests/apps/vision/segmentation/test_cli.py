"""The commands end to end on a tiny recipe: files in, files out, errors, going on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from core.training.launch import main


def omnimix(*words):
    """Exit code of `omnimix segmentation ...` in this process."""
    with pytest.raises(SystemExit) as end:
        main(["segmentation", *map(str, words)])
    return end.value.code


def weights(run):
    return torch.load(Path("runs/tiny") / run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture
def pictures(tmp_path):
    """A folder with a colour, a gray and a transparent picture of odd sizes, one of a single pixel."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, shape in (("colour", (9, 17, 3)), ("gray", (33, 7)), ("glass", (12, 8, 4)), ("dot", (1, 1, 3))):
        Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(folder / f"{name}.png")
    return folder


def test_fit_evaluate_predict(tiny, pictures, capsys):
    assert omnimix("fit", "--config", tiny) == 0
    run = Path("runs/tiny/0")
    results = json.loads((run / "results.json").read_text())
    assert 0 < results["metrics"]["mIoU"] < 100 and "commonest class of each place" in results["baselines"]
    page = (run / "report.html").read_text()
    assert "data:image/jpeg;base64," in page and "<script" not in page and len(page) < 5e6
    assert omnimix("evaluate", "--config", tiny, "--ckpt_path", "best") == 0
    assert json.loads((run / "results.json").read_text())["metrics"] == results["metrics"]
    assert omnimix("test", "--config", tiny, "--ckpt_path", "best") == 0
    assert "mIoU" in capsys.readouterr().out

    words = ["predict", "--ckpt_path", run / "checkpoints/best.ckpt", "--data.files", pictures, "--out", "out"]
    assert omnimix(*words) == 0
    for name, size in (("colour", (17, 9)), ("gray", (7, 33)), ("glass", (8, 12)), ("dot", (1, 1))):
        classes, overlay = Image.open(f"out/{name}.png"), Image.open(f"out/{name}_overlay.png")
        assert classes.mode == "P" and classes.size == overlay.size == size
        assert np.asarray(classes).max() < 10
    before = Path("out/colour.png").read_bytes()
    assert omnimix(*words) == 2
    assert "exists already" in capsys.readouterr().err
    assert omnimix(*words, "--overwrite", "true") == 0
    assert Path("out/colour.png").read_bytes() == before


def test_windows_and_views_are_another_result(tiny):
    assert omnimix("fit", "--config", tiny, "--trainer.max_epochs", "1") == 0
    found = []
    for words in ([], ["--model.windows", '{"size": [16, 16], "stride": [8, 8]}'], ["--model.flip", "true"]):
        assert omnimix("evaluate", "--config", tiny, "--ckpt_path", "best", *words) == 0
        found.append(json.loads(Path("runs/tiny/0/results.json").read_text())["metrics"]["pixel accuracy"])
    assert len(set(found)) == 3


def test_going_on_ends_as_without_interruption(tiny):
    assert omnimix("fit", "--config", tiny) == 0
    assert omnimix("fit", "--config", tiny, "--trainer.max_epochs", "1") == 0
    assert omnimix("fit", "--config", tiny, "--ckpt_path", "last") == 0
    whole, resumed = weights("0"), weights("1")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole if name.startswith("net."))


def test_own_folder(tiny, tmp_path, capsys):
    """Images and masks of a user, with the class list beside them."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / "own" / part).mkdir(parents=True)
    for n in range(12):
        labels = (np.arange(20)[:, None] * 3 // 20).repeat(24, 1).astype(np.uint8)
        pixels = (labels[..., None] * 80 + rng.integers(0, 40, (20, 24, 3))).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"own/images/{n}.png")
        Image.fromarray(labels).save(tmp_path / f"own/masks/{n}.png")
    (tmp_path / "own/classes.txt").write_text("low\nmiddle\nhigh\n")
    recipe = yaml.safe_load(Path(tiny).read_text())
    del recipe["data"]["train"], recipe["data"]["test"]
    Path(tiny).write_text(yaml.safe_dump(recipe))
    assert omnimix("fit", "--config", tiny, "--data.path", "own", "--trainer.max_epochs", "12") == 0
    results = json.loads(Path("runs/tiny/0/results.json").read_text())
    assert results["metrics"]["pixel accuracy"] > 60
    assert "middle" in capsys.readouterr().out
    # The checkpoint predicts where neither folder nor class list are.
    (tmp_path / "own").rename(tmp_path / "moved")
    words = ["predict", "--ckpt_path", "runs/tiny/0/checkpoints/best.ckpt", "--data.files", "moved/images/3.png"]
    assert omnimix(*words, "--out", "out") == 0
    assert np.asarray(Image.open("out/3.png")).shape == (20, 24)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model.windows", '{"size": [8, 8], "stride": [9, 8]}'], "must be 1 to the size"),
        (["--model.scales", "[0]"], "--model.scales [0.0]: must be one or more positive numbers"),
        (["--model.backbone_rate", "0.1"], "UNet has no backbone of its own"),
        (["--model.memory_mb", "0"], "memory_mb 0 must be at least 1"),
        (["--model.monitor", "val_iou"], "--model.monitor val_iou: is not one of val_miou"),
        (["--data.crop", "null", "--data.train", "Folder", "--data.train.path", "own"], "make no batch; give a crop"),
        (
            ["--data.train", "Folder", "--data.train.path", "own", "--data.train.classes", "one.txt"],
            "is the only class",
        ),
        (["--data.train", "CamVid", "--data.train.part", "tests"], "CamVid: there is no part 'tests'"),
    ],
)
def test_options_that_cannot_be_train_nothing(tiny, capsys, recwarn, words, sentence):
    for n, size in enumerate([(9, 8), (8, 9), (8, 8)] * 4):
        for part, pixels in (("images", np.zeros((*size, 3))), ("masks", np.full(size, 255 * (n % 2)))):
            path = Path(f"own/{part}/{n}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    Path("own/classes.txt").write_text("wall\nfloor\n")
    Path("one.txt").write_text("wall\n")
    own = ["--data.test", "null"] if "Folder" in words else []
    assert omnimix("fit", "--config", tiny, *words, *own) == 2
    error = capsys.readouterr().err.splitlines()
    assert sentence in error[-1] and not list(Path("runs").rglob("*.ckpt"))
    # 255 is void, so these masks have no floor; the weights were made of counts, which say so.
    said = any("no training image holds floor" in str(warning.message) for warning in recwarn)
    assert said == ("make no batch" in sentence)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "x"], "predict needs --data.files"),
        (["--data.files", "nothing.png", "--out", "x"], "nothing.png: "),
        (["--data.files", "gray.png", "--out", "x.png"], "name a folder"),
        (["--data.files", "gray.png", "gray.png", "--out", "x"], "two images have this name"),
        (["--data.files", "gray.png", "gray_overlay.png", "--out", "x"], "an image and a result of another one"),
        (["--data.files", "gray.png", "--out", ".", "--overwrite", "true"], "gray.png there is one of --data.files"),
    ],
)
def test_one_sentence_for_what_cannot_be(tiny, pictures, monkeypatch, capsys, words, sentence):
    assert omnimix("fit", "--config", tiny, "--trainer.max_epochs", "1") == 0
    checkpoint = Path("runs/tiny/0/checkpoints/best.ckpt").absolute()
    monkeypatch.chdir(pictures)
    capsys.readouterr()
    assert omnimix("predict", "--ckpt_path", checkpoint, *words) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert len(list(pictures.iterdir())) == 4


def test_other_classes_than_the_checkpoint_are_refused(tiny, capsys):
    assert omnimix("fit", "--config", tiny, "--trainer.max_epochs", "1") == 0
    other = ["--data.train", "CamVid", "--data.test", "CamVid"]
    for command in ("evaluate", "test", "validate", "fit"):
        capsys.readouterr()
        assert omnimix(command, "--config", tiny, "--ckpt_path", "last", *other) == 2
        assert "the checkpoint was trained on sky, building, road" in capsys.readouterr().err
    assert omnimix("fit", "--config", tiny, "--model.monitor", "val_pq") == 2
    assert "does not tell objects apart" in capsys.readouterr().err
