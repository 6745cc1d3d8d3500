"""Speech to mix: folders, lists, the built-in voices, and a store that keeps what fits."""

import numpy as np
import pytest

from apps.audio.data import speech
from apps.audio.data.items import FileClip
from apps.audio.data.public import data_folder
from apps.audio.data.speech import SampleSpeech, Speakers, Store, Voices
from apps.audio.data.voices import voice
from apps.audio.data.waves import read_channels, write_wave
from core.errors import UserError

RANDOM = np.random.default_rng(0)


def noise(*shape):
    return (0.1 * RANDOM.standard_normal(shape)).astype(np.float32)


def test_a_folder_for_each_speaker(tmp_path):
    for name, frames in [("19/198/b.flac", 900), ("19/198/a.flac", 800), ("83/x.wav", 16000 * 50)]:
        write_wave(tmp_path / name, noise(frames), 16000)
    clips = Speakers(str(tmp_path)).clips()
    assert [(c.speaker, c.start, c.frames) for c in clips[:2]] == [("19", 0, 800), ("19", 0, 900)]
    # Longer than 20 s: cut into equal parts.
    assert [(c.speaker, c.start, c.frames) for c in clips[2:]] == [
        ("83", 0, 266666),
        ("83", 266666, 266667),
        ("83", 533333, 266667),
    ]
    assert clips[2].seconds == pytest.approx(50 / 3, rel=1e-4) and clips[0].load(8000).shape == (400,)
    write_wave(tmp_path / "stray.wav", noise(10), 8000)
    with pytest.raises(UserError, match=r"stray\.wav: lies beside the folders of the speakers"):
        Speakers(str(tmp_path)).clips()
    write_wave(tmp_path / "one" / "me" / "a.wav", noise(10), 8000)
    with pytest.raises(UserError, match="holds one speaker"):
        Speakers(str(tmp_path / "one")).clips()


def test_a_list_of_utterances(tmp_path):
    whole = noise(3000)
    write_wave(tmp_path / "all.wav", whole, 8000, "FLOAT")
    path = tmp_path / "list.csv"
    path.write_text("file,start,frames,speaker,sex\nall.wav,0,1000,anna,F\nall.wav,1000,1500,ben,M\n")
    clips = Speakers(str(path)).clips()
    assert [(c.speaker, c.sex, c.seconds) for c in clips] == [("anna", "F", 0.125), ("ben", "M", 0.1875)]
    np.testing.assert_array_equal(clips[1].load(8000), whole[1000:2500])
    path.write_text("file,speaker\nall.wav,anna\nall.wav,ben\n")
    assert [c.frames for c in Speakers(str(path)).clips()] == [3000, 3000]
    for text, match in [
        ("file,speaker\nall.wav,anna\nnone.wav,ben\n", r"list\.csv row 3: file names none\.wav, which is not there"),
        (
            "file,start,frames,speaker\nall.wav,2000,1001,anna\n",
            r"row 2: samples 2000 to 3001 of all\.wav",
        ),
        ("file,start,frames,speaker\nall.wav,0,-5,anna\n", "row 2: frames is '-5', not a number"),
        ("file,start,frames,speaker\nall.wav,0,0,anna\n", "row 2: samples 0 to 0"),
        ("file,name\nall.wav,anna\n", "has no column speaker"),
    ]:
        path.write_text(text)
        with pytest.raises(UserError, match=match):
            Speakers(str(path)).clips()


def test_a_store_gives_the_same_whatever_it_keeps(tmp_path, monkeypatch):
    whole = noise(2, 4000)
    for n in range(2):
        write_wave(tmp_path / f"{n}.wav", whole[n], 8000, "FLOAT")
    clips = [FileClip(tmp_path / f"{n % 2}.wav", str(n % 3), 8000, 100 * n, 500 + n) for n in range(6)]
    decoded = []
    monkeypatch.setattr(speech, "read_channels", lambda path: decoded.append(path) or read_channels(path))
    roomy, tight, other = Store(clips, 8000), Store(clips, 8000, 0.02), Store(clips, 16000, 0.003)
    for n in (0, 3, 5, 1, 2, 4, 0):
        expected = whole[n % 2, 100 * n : 100 * n + 500 + n]
        np.testing.assert_array_equal(roomy[n], expected)
        np.testing.assert_array_equal(tight[n], expected)
        np.testing.assert_array_equal(other[n], clips[n].load(16000))
    assert decoded.count(tmp_path / "0.wav") > 2 and len(tight._kept) == 1 and len(roomy._kept) == 2
    decoded.clear()
    small = Store(clips, 8000, 0.003)
    np.testing.assert_array_equal(small[4], whole[0, 400:904])
    assert not decoded
    names, shares, members = roomy.speakers()
    assert names == ["0", "1", "2"] and shares.tolist() == [1 / 3] * 3 and members[1].tolist() == [1, 4]


def test_voices_depend_on_their_numbers_alone():
    first = voice(0, 3, 1, 16000, 8000)
    assert first.shape == (16000,) and first.dtype == np.float32
    np.testing.assert_array_equal(first, voice(0, 3, 1, 16000, 8000))
    for other in (voice(1, 3, 1, 16000, 8000), voice(0, 4, 1, 16000, 8000), voice(0, 3, 2, 16000, 8000)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.2
    assert np.sqrt(np.mean(first**2)) == pytest.approx(0.06, rel=1e-3) and abs(first).max() < 0.6
    for frames in (1, 2, 77):
        assert np.isfinite(voice(0, 0, 0, frames, 8000)).all() and len(voice(0, 0, 0, frames, 16000)) == frames


def test_voices_are_like_voices():
    """Periodic at the speaker's pitch where they are loud, with pauses, most energy below 1 kHz, none at the edge."""
    periods = []
    for number in range(6):
        wave = voice(0, number, 0, 40000, 8000)
        frames = wave[: 40000 // 400 * 400].reshape(-1, 400)
        level = (frames**2).mean(1)
        assert 0.02 < (level < 0.01 * level.max()).mean() < 0.5
        spectrum = abs(np.fft.rfft(wave)) ** 2
        assert spectrum[:5000].sum() > 0.6 * spectrum.sum() and spectrum[19500:].sum() < 0.01 * spectrum.sum()
        loud = frames[level > 0.3 * level.max()]
        correlation = np.array([[(f[: 400 - lag] * f[lag:]).sum() for lag in range(25, 110)] for f in loud])
        correlation /= (loud**2).sum(1)[:, None]
        assert np.median(correlation.max(1)) > 0.5
        periods.append(np.median(25 + correlation.argmax(1)))
    assert max(periods) > 1.4 * min(periods)


def test_built_in_speech():
    source = Voices(3, 2, 1.0, seed=4)
    clips = source.clips()
    assert len(clips) == 6 and len({c.speaker for c in clips}) == 3 and source.label == "built-in voices"
    np.testing.assert_array_equal(clips[3].load(8000), voice(4, 1, 1, 8000, 8000))
    assert clips[0].load(16000).shape == (16000,) and clips[0].seconds == 1 and clips[0].sex == "?"
    with pytest.raises(UserError, match="speakers >= 2"):
        Voices(1)


@pytest.mark.skipif(not (data_folder("") / "test.csv").is_file(), reason="the speech is not on this machine")
def test_shipped_speech():
    for part, utterances, speakers in (("train", 251, 251), ("dev", 20, 10)):
        clips = SampleSpeech(part).clips()
        assert len(clips) == utterances and len({c.speaker for c in clips}) == speakers
    assert SampleSpeech().label == "LibriSpeech samples, train"
    store = Store(clips, 8000)
    assert np.sqrt(np.mean(store[3] ** 2)) == pytest.approx(0.06, rel=0.2)
