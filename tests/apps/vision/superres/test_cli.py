"""The commands end to end on a tiny recipe: files in, files out, errors, going on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from apps.vision.superres.data.datamodule import SuperResolutionData
from apps.vision.superres.data.images import Picture, read_image, write_image
from apps.vision.superres.data.sources import Set5, Several, Urban100
from apps.vision.superres.evaluate import groups, published
from core.training.launch import main


def omnimix(*words):
    """Exit code of `omnimix superres ...` in this process."""
    with pytest.raises(SystemExit) as end:
        main(["superres", *map(str, words)])
    return end.value.code


def weights(run):
    return torch.load(Path("runs/tiny") / run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture
def pictures(tmp_path):
    """A folder with a 16-bit picture, one with alpha and a gray one."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "mine"
    folder.mkdir()
    colour = rng.integers(0, 256, (9, 7, 3)).astype(np.uint8)
    write_image(folder / "deep.png", Picture(colour.astype(np.uint16) * 257))
    write_image(folder / "glass.png", Picture(colour, rng.integers(0, 256, (9, 7)).astype(np.uint8), profile=b"icc"))
    write_image(folder / "old.png", Picture(np.repeat(colour[..., :1], 3, 2), gray=True))
    return folder


def test_fit_evaluate_predict(tiny, pictures, capsys):
    assert omnimix("fit", "--config", tiny) == 0
    run = Path("runs/tiny/0")
    results = json.loads((run / "results.json").read_text())
    assert results["metrics"]["PSNR"] > 15 and "bicubic" in results["baselines"]
    page = (run / "report.html").read_text()
    assert "data:image/png;base64," in page and "<script" not in page and len(page) < 5e6
    assert omnimix("evaluate", "--config", tiny, "--ckpt_path", "best") == 0
    assert json.loads((run / "results.json").read_text())["metrics"] == results["metrics"]
    assert omnimix("test", "--config", tiny, "--ckpt_path", "best") == 0
    scores = capsys.readouterr().out

    checkpoint = run / "checkpoints/best.ckpt"
    files = [pictures / "deep.png", pictures / "glass.png", pictures / "old.png"]
    assert omnimix("predict", "--ckpt_path", checkpoint, "--data.files", *files, "--out", "large") == 0
    deep, glass, old = (read_image(f"large/{name}_x2.png") for name in ("deep", "glass", "old"))
    assert deep.depth == 16 and deep.pixels.shape == (18, 14, 3)
    assert glass.alpha.shape == (18, 14) and glass.depth == 8 and old.gray
    assert omnimix("predict", "--ckpt_path", checkpoint, "--data.files", pictures, "--out", "large") == 2
    assert "exists already" in capsys.readouterr().err
    words = ["--ckpt_path", checkpoint, "--data.files", pictures, "--out", "large", "--overwrite", "true"]
    assert omnimix("predict", *words) == 0
    assert (read_image("large/deep_x2.png").pixels == deep.pixels).all()
    assert omnimix("predict", "--ckpt_path", checkpoint, "--data.files", files[0], "--out", "one.png") == 0
    assert (read_image("one.png").pixels == deep.pixels).all()
    assert "PSNR" in scores and "3 images, 2 times larger" in capsys.readouterr().out


def test_tiles_and_self_ensemble_from_the_command_line(tiny, pictures):
    assert omnimix("fit", "--config", tiny) == 0
    checkpoint, file = "runs/tiny/0/checkpoints/best.ckpt", pictures / "deep.png"
    common = ["predict", "--ckpt_path", checkpoint, "--data.files", file]
    assert omnimix(*common, "--out", "plain.png") == 0
    assert omnimix(*common, "--out", "eight.png", "--model.self_ensemble", "true") == 0
    plain, eight = (read_image(name).pixels.astype(int) for name in ("plain.png", "eight.png"))
    assert 0 < np.abs(plain - eight).max() < 20000


def test_going_on_ends_as_without_interruption(tiny):
    assert omnimix("fit", "--config", tiny) == 0
    assert omnimix("fit", "--config", tiny, "--trainer.max_epochs", "1") == 0
    assert omnimix("fit", "--config", tiny, "--ckpt_path", "last") == 0
    whole, resumed = weights("0"), weights("1")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole if name.startswith("net."))


def test_averaged_weights_are_what_is_tested_and_kept(tiny, capsys):
    average = ["--trainer.callbacks+=core.training.averaging.Averaging", "--trainer.callbacks.decay=1.0"]
    assert omnimix("fit", "--config", tiny, *average) == 0
    stored = torch.load("runs/tiny/0/checkpoints/last.ckpt", weights_only=True)
    mean, last = (stored[part]["net.leave.weight"] for part in ("state_dict", "current_model_state"))
    assert 0 < mean.abs().max() < last.abs().max()  # the mean stays where the first of six steps led
    results = json.loads(Path("runs/tiny/0/results.json").read_text())
    assert omnimix("evaluate", "--config", tiny, "--ckpt_path", "last") == 0
    assert json.loads(Path("runs/tiny/0/results.json").read_text())["metrics"] == results["metrics"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "x.png"], "predict needs --data.files"),
        (["--data.files", "nothing.png", "--out", "x.png"], "nothing.png: cannot be read"),
        (["--data.files", "deep.png"], "predict needs --out"),
        (["--data.files", "deep.png", "--out", "x.png", "--data.scale", "3"], "enlarges by 2"),
        (["--data.files", "glass.png", "--out", "x.jpg"], "JPEG keeps no transparency"),
        (["--data.files", "deep.png", "deep.png", "--out", "both"], "like an earlier file"),
    ],
)
def test_one_sentence_for_what_cannot_be(tiny, pictures, monkeypatch, capsys, words, sentence):
    assert omnimix("fit", "--config", tiny, "--trainer.max_epochs", "1") == 0
    checkpoint = Path("runs/tiny/0/checkpoints/best.ckpt").absolute()
    monkeypatch.chdir(pictures)
    assert omnimix("predict", "--ckpt_path", checkpoint, *words) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert sorted(p.name for p in pictures.iterdir()) == ["deep.png", "glass.png", "old.png"]


def test_several_sets_have_columns_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIMIX_DATA", str(tmp_path))
    rng = np.random.default_rng(0)
    for name, count in (("set5", 5), ("urban100", 1)):
        (tmp_path / "superres" / name).mkdir(parents=True)
        for n in range(count):
            pixels = rng.integers(0, 256, (48, 40, 3)).astype(np.uint8)
            write_image(tmp_path / "superres" / name / f"{n}.png", Picture(pixels))
    data = SuperResolutionData(test=Several([Set5(), Urban100()]), scale=2)
    assert groups(data) == {"Set5": slice(0, 5), "Urban100 (1 of 100 images)": slice(5, 6)}
    rows = {row.name: row.values for row in published({"Set5": "Set5 ", "Urban100 (1 of 100 images)": "Urban100 "}, 2)}
    # An incomplete set is not compared with published averages.
    assert rows["HAT (paper)"] == {"Set5 PSNR": 38.63}
