"""What people hand in, by command: recordings that are odd but fine, recordings that are none, lists with holes.

Odd ones give files of their length; bad ones give one sentence and no file, whole or half.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from core.training.launch import main

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def omnimix(*words):
    """Exit code of `omnimix audio ...` in this process."""
    with pytest.raises(SystemExit) as end:
        main(["audio", *map(str, words)])
    return end.value.code


def noise(*shape, level=0.1, seed=0):
    return (level * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


VOICES = "apps.audio.data.speech.Voices"
RECIPE = {
    "model": {
        "network": {
            "class_path": "apps.audio.models.ConvTasNet",
            "init_args": {"dim": 8, "depth": 2, "repeats": 1, "hidden": 8, "channels": 16, "kernel": 64},
        },
    },
    "data": {
        "train": {"class_path": VOICES, "init_args": {"speakers": 8, "utterances": 1, "seconds": 1.0}},
        "test": {"class_path": VOICES, "init_args": {"speakers": 4, "utterances": 1, "seconds": 1.0, "seed": 1}},
        "seconds": 0.5,
        "batch_size": 2,
        "steps": 2,
    },
    "trainer": {"max_epochs": 1},
}
RECIPE["model"]["network"]["init_args"] |= {"activation": "torch.nn.ReLU", "spectral": True}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A recipe and the checkpoint of a network that was trained for two steps by it."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = folder / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert omnimix("fit", "--config", recipe) == 0
    return recipe, folder / "runs/tiny/0/checkpoints/best.ckpt"


@pytest.fixture
def recipe(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return trained[0]


@pytest.fixture
def checkpoint(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return trained[1]


def made(folder):
    """Everything below a folder, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def write_recordings(folder):
    """Names of recordings that are odd but fine, with their samples and rates."""
    folder.mkdir()
    tone = np.sin(np.arange(9000) / 9).astype(np.float32)
    voice = noise(9000)
    recordings = {
        "silence.wav": (np.zeros(9000, np.float32), 8000, "PCM_16"),
        "sample.wav": (noise(1), 8000, "PCM_16"),
        "sample_at_44100.flac": (noise(1), 44100, "PCM_16"),
        "stereo.wav": (noise(30011, 2), 44100, "PCM_24"),
        "low.wav": (noise(333), 4000, "PCM_16"),
        "clipped.wav": (np.clip(3 * tone, -1, 1), 8000, "PCM_16"),
        "loud.wav": (5 * tone, 8000, "FLOAT"),
        "quiet.wav": (1e-6 * tone, 8000, "FLOAT"),
        "constant.wav": (np.full(9000, 0.5, np.float32), 8000, "PCM_16"),
        # Two speakers who say the same.
        "twins.wav": (voice + voice, 8000, "PCM_16"),
        "one_click.wav": (np.eye(1, 9000, 4000, dtype=np.float32)[0], 8000, "PCM_16"),
    }
    for name, (wave, rate, subtype) in recordings.items():
        soundfile.write(folder / name, wave, rate, subtype=subtype)
    return {name: (len(wave), rate, subtype) for name, (wave, rate, subtype) in recordings.items()}


def test_odd_recordings_are_separated(checkpoint):
    recordings = write_recordings(Path("odd"))
    assert omnimix("predict", "--ckpt_path", checkpoint, "--data.files", "odd", "--out", "apart") == 0
    names = [f"{Path(name).stem}_speaker{n}{Path(name).suffix}" for name in recordings for n in (1, 2)]
    assert made("apart") == sorted(names)
    for name, (frames, rate, subtype) in recordings.items():
        for n in (1, 2):
            path = Path("apart") / f"{Path(name).stem}_speaker{n}{Path(name).suffix}"
            info, (wave, _) = soundfile.info(path), soundfile.read(path)
            assert (info.frames, info.samplerate, info.channels, info.subtype) == (frames, rate, 1, subtype)
            assert np.isfinite(wave).all()
            # Nothing clips: no runs at full scale.
            assert subtype == "FLOAT" or np.abs(wave).max() < 1
    assert not soundfile.read("apart/silence_speaker1.wav")[0].any()


def write_bad(folder):
    """Names of what is no recording, with a part of the sentence that says so."""
    folder.mkdir()
    wave = noise(9000)
    wave[5000] = np.nan
    soundfile.write(folder / "nan.wav", wave, 8000, subtype="FLOAT")
    wave[5000] = np.inf
    soundfile.write(folder / "inf.wav", wave, 8000, subtype="FLOAT")
    for name in ("cut.wav", "cut.flac", "cut.ogg"):
        soundfile.write(folder / name, noise(48000), 16000)
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
    (folder / "empty.wav").touch()
    (folder / "words.wav").write_text("These are words, and no sound. " * 50)
    (folder / "picture.wav").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(900))
    soundfile.write(folder / "nothing.wav", np.zeros(0, np.float32), 8000)
    return {
        "nan.wav": "sample 5000 is NaN or infinite",
        "inf.wav": "sample 5000 is NaN or infinite",
        "cut.wav": "cut off",
        "cut.flac": "cut off",
        "cut.ogg": "cut off",
        "empty.wav": "is empty (0 bytes)",
        "words.wav": "is not audio",
        "picture.wav": "is not audio",
        "nothing.wav": "holds no samples",
        "missing.wav": "no such file",
    }


def test_what_is_no_recording_is_one_sentence_and_leaves_no_file(checkpoint, capsys):
    for name, sentence in write_bad(Path("bad")).items():
        words = ["--ckpt_path", checkpoint, "--data.files", f"bad/{name}", "--out", "apart"]
        assert omnimix("predict", *words) == 2, name
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1 and name in said[0] and sentence in said[0], said
        assert not Path("apart").exists() or not made("apart"), name


def test_a_bad_recording_among_good_ones_harms_none_of_them(checkpoint, capsys):
    write_bad(Path("bad"))
    soundfile.write("a.wav", noise(9000), 8000)
    words = ["--ckpt_path", checkpoint, "--data.files", "a.wav", "bad/nan.wav", "--out", "apart"]
    assert omnimix("predict", *words) == 2
    assert "sample 5000 is NaN" in capsys.readouterr().err
    assert set(made("apart")) <= {"a_speaker1.wav", "a_speaker2.wav"}
    assert all(soundfile.info(Path("apart") / name).frames == 9000 for name in made("apart"))


def write_mixtures(folder, sources):
    """A folder of mixtures with their references, and the list of them."""
    rows = ["mixture_ID,mixture_path,source_1_path,source_2_path"]
    for name, waves in sources.items():
        for part, wave in zip(("mix", "s1", "s2"), (sum(waves), *waves), strict=True):
            (folder / part).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / part / f"{name}.wav", wave, 8000, subtype="FLOAT")
        rows.append(f"{name},mix/{name}.wav,s1/{name}.wav,s2/{name}.wav")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder / "list.csv"


def listed(path):
    return [
        "--data.test.class_path",
        "apps.audio.data.sources.MixtureCsv",
        "--data.test.init_args.path",
        path,
    ]


def test_silent_and_equal_speakers_are_scored_or_left_out_but_never_averaged_as_nan(recipe, checkpoint, capsys):
    voice = noise(4000, seed=3)
    path = write_mixtures(
        Path("mixtures"),
        {
            "fine": (noise(5000, seed=1), noise(5000, seed=2)),
            "one_silent": (voice, np.zeros_like(voice)),
            "twins": (voice, voice.copy()),
        },
    )
    assert omnimix("evaluate", "--config", recipe, "--ckpt_path", checkpoint, *listed(path)) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1 mixtures of 2 speakers, 8000 Hz; 1 with a silent reference left out; 1 of voices that are alike" in out
    (run,) = Path("runs").rglob("results.json")
    assert all(np.isfinite(value) for value in json.loads(run.read_text())["metrics"].values())


def test_a_list_that_names_a_missing_file_says_which(recipe, checkpoint, capsys):
    path = write_mixtures(Path("mixtures"), {"a": (noise(4000), noise(4000)), "b": (noise(4000), noise(4000))})
    Path("mixtures/s2/b.wav").unlink()
    assert omnimix("evaluate", "--config", recipe, "--ckpt_path", checkpoint, *listed(path)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "list.csv row 3" in error and "b.wav" in error
    assert not list(Path(".").rglob("results.json"))
    assert omnimix("fit", "--config", recipe, *listed(path)) == 2
    assert "list.csv row 3" in capsys.readouterr().err


def test_a_reference_that_is_broken_says_which(recipe, checkpoint, capsys):
    path = write_mixtures(Path("mixtures"), {"a": (noise(4000), noise(4000))})
    soundfile.write("mixtures/s1/a.wav", np.where(np.arange(4000) == 7, np.nan, noise(4000)), 8000, subtype="FLOAT")
    assert omnimix("evaluate", "--config", recipe, "--ckpt_path", checkpoint, *listed(path)) == 2
    assert "sample 7 is NaN" in capsys.readouterr().err
