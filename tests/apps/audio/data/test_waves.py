"""Audio files in and out: whole or refused, at any rate, never clipped, nothing half-written."""

import struct

import numpy as np
import pytest
import soundfile

from apps.audio.data import waves
from apps.audio.data.waves import (
    is_clipped,
    list_waves,
    read_channels,
    read_info,
    read_wave,
    resample,
    subtype_for,
    write_wave,
    write_waves,
)
from core.errors import UserError

RANDOM = np.random.default_rng(0)


def noise(*shape):
    return (0.1 * RANDOM.standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_every_format_there_and_back(tmp_path, name):
    samples = np.sin(np.arange(16000) / 20).astype(np.float32) / 2
    assert write_wave(tmp_path / name, samples, 16000) == 1
    back, rate = read_channels(tmp_path / name)
    assert rate == 16000 and back.shape[0] == 1 and back.dtype == np.float32
    if name.endswith(("wav", "flac")):
        assert back.shape == (1, 16000) and abs(back[0] - samples).max() <= 2**-15
    else:
        assert abs(back.shape[1] - 16000) < 3000
        assert max(np.correlate(back[0], samples[4000:8000])) > 0.99 * (samples[4000:8000] ** 2).sum()
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_part_of_a_file_is_that_part_of_the_whole(tmp_path):
    stereo = noise(2, 5000)
    write_wave(tmp_path / "a.flac", stereo, 8000)
    whole, _ = read_channels(tmp_path / "a.flac")
    part, _ = read_channels(tmp_path / "a.flac", 1234, 77)
    np.testing.assert_array_equal(part, whole[:, 1234 : 1234 + 77])
    with pytest.raises(UserError, match="samples 4990 to 5010 were asked for, it has 5000"):
        read_channels(tmp_path / "a.flac", 4990, 20)


def test_44_kilohertz_stereo_becomes_one_channel_at_the_rate_wanted(tmp_path):
    time = np.arange(44100) / 44100
    tone = np.stack([np.sin(2 * np.pi * 440 * time), 0.5 * np.sin(2 * np.pi * 440 * time)]).astype(np.float32) / 2
    write_wave(tmp_path / "a.wav", tone, 44100, "FLOAT")
    with pytest.warns(UserWarning, match=r"a\.wav: 2 channels are mixed down to one"):
        mixed = read_wave(tmp_path / "a.wav", 8000)
    expected = 0.375 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    assert mixed.shape == (8000,) and abs(mixed - expected)[50:-50].max() < 1e-3
    assert resample(noise(3, 1001), 44100, 8000).shape == (3, 182)


def test_nothing_clips_and_one_factor_serves_all(tmp_path):
    loud, quiet = 4 * noise(3000), noise(3000)
    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    factor = write_waves(paths, [loud, quiet], 8000)
    assert factor == pytest.approx(0.999 / abs(loud).max())
    for path, wave in zip(paths, (loud, quiet), strict=True):
        np.testing.assert_allclose(read_channels(path)[0][0], factor * wave, atol=2**-15)
    assert write_wave(tmp_path / "c.wav", loud, 8000, "FLOAT") == 1
    np.testing.assert_array_equal(read_channels(tmp_path / "c.wav")[0][0], loud)


def test_sample_format_of_the_input_is_kept_where_there_is_one():
    assert [subtype_for("a.wav", s) for s in ("PCM_24", "FLOAT", "VORBIS", "PCM_S8", None)] == [
        "PCM_24",
        "FLOAT",
        "PCM_16",
        "PCM_16",
        "PCM_16",
    ]
    assert subtype_for("a.flac", "FLOAT") == "PCM_16" and subtype_for("a.ogg", "PCM_24") == "VORBIS"
    with pytest.raises(UserError, match=r"unknown audio format '\.aac'; use one of \.wav"):
        subtype_for("a.aac")


def test_what_cannot_be_read_is_one_sentence(tmp_path):
    def refused(name, match):
        with pytest.raises(UserError, match=match) as caught:
            read_wave(tmp_path / name)
        assert "\n" not in str(caught.value)

    refused("none.wav", r"cannot be read \(no such file or directory\); name an audio file")
    (tmp_path / "folder.wav").mkdir()
    refused("folder.wav", "is a folder")
    (tmp_path / "empty.wav").touch()
    refused("empty.wav", r"empty\.wav: is empty \(0 bytes\)")
    (tmp_path / "text.wav").write_text("These are words, and no sound. " * 9)
    refused("text.wav", r"text\.wav: is not audio that can be read here; convert it to WAV, FLAC, OGG or MP3")
    (tmp_path / "picture.mp3").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    refused("picture.mp3", r"picture\.mp3: ")
    (tmp_path / "a.raw").write_bytes(bytes(500))
    refused("a.raw", r"a\.raw: has no header")
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0, np.float32), 8000)
    refused("nothing.wav", r"nothing\.wav: holds no samples")
    for value in (np.nan, np.inf, -np.inf):
        wave = noise(100)
        wave[17] = value
        soundfile.write(tmp_path / "nan.wav", wave, 8000, subtype="FLOAT")
        refused("nan.wav", r"nan\.wav: sample 17 is NaN or infinite; export the file again")
        with pytest.raises(UserError, match="sample 17"):
            read_channels(tmp_path / "nan.wav", 10, 20)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
def test_a_file_that_was_cut_off_is_refused(tmp_path, name, share):
    write_wave(tmp_path / name, noise(48000), 16000)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=r"cut off|empty|no samples"):
        read_wave(tmp_path / name)


def test_a_wav_of_unknown_length_is_read_to_its_end(tmp_path):
    """As programs write it that do not know the length when they begin."""
    write_wave(tmp_path / "a.wav", noise(1000), 8000)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    place = data.index(b"data") + 4
    data[4:8] = data[place : place + 4] = struct.pack("<I", 0xFFFFFFFF)
    (tmp_path / "a.wav").write_bytes(data)
    assert len(read_wave(tmp_path / "a.wav")) == 1000


def test_clipped_recordings_are_named(tmp_path):
    wave = np.sin(np.arange(4000) / 30).astype(np.float32)
    assert not is_clipped(0.99 * wave) and is_clipped(np.clip(1.2 * wave, -1, 1)) and not is_clipped(noise(50))
    soundfile.write(tmp_path / "a.wav", 1.2 * wave, 8000)
    with pytest.warns(UserWarning, match=r"a\.wav: is clipped \(runs at full scale\); it is used as it is"):
        assert len(read_wave(tmp_path / "a.wav")) == 4000


def test_nothing_is_left_half_written(tmp_path, monkeypatch):
    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    write_waves(paths, [noise(10)] * 2, 8000)
    before = [path.read_bytes() for path in paths]
    real, calls = soundfile.write, []

    def failing(*args, **kwargs):
        calls.append(args)
        real(*args, **kwargs)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(waves.soundfile, "write", failing)
    with pytest.raises(UserError, match=r"a\.wav: cannot be written \(No space left on device\)"):
        write_waves(paths, [noise(20)] * 2, 8000)
    assert [path.read_bytes() for path in paths] == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.wav", "b.wav"]
    monkeypatch.undo()
    with pytest.raises(ValueError, match="NaN"):
        write_wave(tmp_path / "c.wav", np.full(5, np.nan, np.float32), 8000)
    with pytest.raises(ValueError, match=r"\(T,\) or \(C, T\)"):
        write_wave(tmp_path / "c.wav", np.zeros((1, 1, 5), np.float32), 8000)
    with pytest.raises(UserError, match=r"c\.mp3: cannot be written at 96000 Hz"):
        write_wave(tmp_path / "c.mp3", noise(500), 96000)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_wave(tmp_path / "file" / "c.wav", noise(5), 8000)
    assert not list(tmp_path.glob("*c.*")) and not list(tmp_path.glob(".*"))


def test_lists_of_files(tmp_path):
    for name in ("b.wav", "x/a.FLAC", "x/.hidden.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.name for p in list_waves(tmp_path)] == ["b.wav", "a.FLAC"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no \.wav"):
        list_waves(tmp_path / "empty")
    with pytest.raises(UserError, match="is not a folder"):
        list_waves(tmp_path / "none")


def test_one_sample(tmp_path):
    write_wave(tmp_path / "a.wav", noise(1), 44100)
    assert read_info(tmp_path / "a.wav").frames == 1 and read_wave(tmp_path / "a.wav", 8000).shape == (1,)
