"""The commands end to end on a tiny recipe: files in, files out, errors, going on."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from core.training.launch import main


def omnimix(*words):
    """Exit code of `omnimix audio ...` in this process."""
    with pytest.raises(SystemExit) as end:
        main(["audio", *map(str, words)])
    return end.value.code


def weights(run):
    return torch.load(Path("runs/tiny") / run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture
def recordings(tmp_path):
    """A mono recording at the network's rate and a stereo one at 44.1 kHz."""
    folder, rng = tmp_path / "mine", np.random.default_rng(0)
    folder.mkdir()
    soundfile.write(folder / "mix.wav", 0.1 * rng.standard_normal(5001), 8000)
    soundfile.write(folder / "meeting.flac", 0.1 * rng.standard_normal((30000, 2)), 44100)
    return folder


def test_fit_evaluate_predict(tiny, recordings, capsys):
    assert omnimix("fit", "--config", tiny) == 0
    run = Path("runs/tiny/0")
    results = json.loads((run / "results.json").read_text())
    assert np.isfinite(results["metrics"]["SI-SDRi"]) and "the mixture itself" in results["baselines"]
    page = (run / "report.html").read_text()
    assert "data:audio/flac;base64," in page and "<script" not in page and len(page) < 5e6
    assert omnimix("evaluate", "--config", tiny, "--ckpt_path", "best") == 0
    assert json.loads((run / "results.json").read_text())["metrics"] == results["metrics"]
    assert omnimix("test", "--config", tiny, "--ckpt_path", "best") == 0

    checkpoint = run / "checkpoints/best.ckpt"
    words = ["predict", "--ckpt_path", checkpoint, "--data.files", recordings, "--out", "apart"]
    assert omnimix(*words) == 0
    for name, frames, rate in (("mix_speaker{}.wav", 5001, 8000), ("meeting_speaker{}.flac", 30000, 44100)):
        for speaker in (1, 2):
            info = soundfile.info(Path("apart") / name.format(speaker))
            assert (info.frames, info.samplerate, info.channels) == (frames, rate, 1)
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
        (["--out", "apart"], "predict needs --data.files"),
        (["--data.files", "nothing.wav", "--out", "apart"], "nothing.wav"),
        (["--data.files", "mix.wav"], "predict needs --out"),
        (["--data.files", "mix.wav", "--out", "one.wav"], "name a folder"),
        (["--data.files", "mix.wav", "--out", "apart", "--data.speakers", "3"], "was trained with 2"),
        (["--data.files", "mix.wav", "mix.wav", "--out", "apart"], "like an earlier file"),
    ],
)
def test_one_sentence_for_what_cannot_be(tiny, recordings, monkeypatch, capsys, words, sentence):
    assert omnimix("fit", "--config", tiny, "--trainer.max_epochs", "1") == 0
    checkpoint = Path("runs/tiny/0/checkpoints/best.ckpt").absolute()
    monkeypatch.chdir(recordings)
    capsys.readouterr()
    assert omnimix("predict", "--ckpt_path", checkpoint, *words) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert sorted(p.name for p in recordings.iterdir()) == ["meeting.flac", "mix.wav"]
