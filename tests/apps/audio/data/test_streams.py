"""Reading, resampling and writing block by block give what doing it at once gives."""

import numpy as np
import pytest
import soundfile

from apps.audio.data import streams
from apps.audio.data.streams import Recording, WaveWriters, resampled
from apps.audio.data.waves import read_channels, read_wave, resample, write_wave
from core.errors import UserError

RANDOM = np.random.default_rng(0)


def noise(*shape):
    return (0.1 * RANDOM.standard_normal(shape)).astype(np.float32)


def pieces(x, sizes):
    at = 0
    while at < x.shape[-1]:
        n = int(RANDOM.choice(sizes))
        yield x[..., at : at + n]
        at += n


@pytest.mark.parametrize(
    ("rate", "new_rate"), [(44100, 8000), (8000, 44100), (16000, 8000), (8000, 8000), (11025, 16000)]
)
@pytest.mark.parametrize("length", [1, 500, 20011])
def test_resampling_in_blocks(rate, new_rate, length):
    x = noise(2, length)
    made = np.concatenate(list(resampled(pieces(x, [1, 50, 4000, 9000]), rate, new_rate)), -1)
    whole = resample(x, rate, new_rate)
    assert made.shape == whole.shape and abs(made - whole).max() < 1e-6


def test_blocks_are_made_as_they_come():
    given = []

    def source():
        for n in range(40):
            given.append(n)
            yield noise(8000)

    parts = resampled(source(), 44100, 8000)
    next(parts)
    assert len(given) <= 3


def test_a_recording_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "BLOCK", 3000)
    stereo = noise(2, 44100)
    write_wave(tmp_path / "a.wav", stereo, 44100)
    recording = Recording(tmp_path / "a.wav", 8000)
    assert recording.frames == 8000 and recording.info.channels == 2
    with pytest.warns(UserWarning) as caught:
        blocks = list(recording.blocks())
    assert [str(w.message) for w in caught] == [
        "a.wav: 2 channels are mixed down to one.",
        "a.wav: has 44100 Hz, the network works at 8000 Hz; what lies above 4000 Hz is lost.",
    ]
    with pytest.warns(UserWarning, match="mixed down"):
        whole = read_wave(tmp_path / "a.wav", 8000)
    assert len(blocks) > 1 and abs(np.concatenate(blocks) - whole).max() < 1e-6


def test_what_is_wrong_with_a_recording_is_found_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "BLOCK", 1000)
    wave = noise(5000)
    wave[4321] = np.nan
    soundfile.write(tmp_path / "a.wav", wave, 8000, subtype="FLOAT")
    with pytest.raises(UserError, match=r"a\.wav: sample 4321 is NaN"):
        list(Recording(tmp_path / "a.wav", 8000).blocks())
    soundfile.write(tmp_path / "b.wav", 20 * noise(5000), 8000)
    with pytest.warns(UserWarning, match="clipped"):
        list(Recording(tmp_path / "b.wav", 8000).blocks())
    write_wave(tmp_path / "c.flac", noise(50000), 8000)
    data = (tmp_path / "c.flac").read_bytes()
    (tmp_path / "c.flac").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="cut off"):
        list(Recording(tmp_path / "c.flac", 8000).blocks())


def test_written_in_blocks_scaled_by_one_factor(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "BLOCK", 700)
    waves = np.stack([noise(5000), 30 * noise(5000)])
    paths = [tmp_path / "new" / "a.wav", tmp_path / "b.flac"]
    with WaveWriters(paths, 8000, "PCM_24") as writers:
        for part in pieces(waves, [1, 333, 2000]):
            writers.write(part)
        assert not paths[0].exists()
    assert writers.frames == 5000 and writers.factor == pytest.approx(0.999 / abs(waves).max())
    for path, wave in zip(paths, waves, strict=True):
        assert soundfile.info(path).subtype == "PCM_24"
        np.testing.assert_allclose(read_channels(path)[0][0], writers.factor * wave, atol=2**-22)
    with WaveWriters([tmp_path / "c.wav"], 8000, "FLOAT") as writers:
        writers.write(waves[1:])
    assert writers.factor == 1
    np.testing.assert_array_equal(read_channels(tmp_path / "c.wav")[0], waves[1:])
    with pytest.raises(ValueError, match=r"expected \(2, n\)"), WaveWriters(paths, 8000) as writers:
        writers.write(waves[:1])


def test_an_interrupted_recording_leaves_nothing(tmp_path):
    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    write_wave(paths[0], noise(9), 8000)
    before = paths[0].read_bytes()
    with pytest.raises(KeyboardInterrupt), WaveWriters(paths, 8000) as writers:
        writers.write(noise(2, 100))
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"] and paths[0].read_bytes() == before
    with pytest.raises(UserError, match="cannot be written"), WaveWriters([tmp_path / "c.mp3"], 96000) as writers:
        writers.write(noise(1, 100))
    with pytest.raises(UserError, match="cannot be written"), WaveWriters([paths[0] / "c.wav"], 8000):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]
