"""The folders and lists of the public sets, and what is wrong with one's own said by name and row."""

import numpy as np
import pytest

from apps.audio.data.public import data_folder
from apps.audio.data.sources import WHAM, WHAMR, Folders, LibriMix, MixtureCsv, Samples, WSJ0Mix
from apps.audio.data.waves import write_wave
from core.errors import UserError

RANDOM = np.random.default_rng(0)


def noise(*shape):
    return (0.1 * RANDOM.standard_normal(shape)).astype(np.float32)


def fill(folder, names=("mix", "s1", "s2"), files=("b.wav", "a.wav"), frames=800):
    """Folders in which the first is the sum of the others."""
    for file in files:
        waves = noise(len(names) - 1, frames)
        for name, wave in zip(names, [waves.sum(0), *waves], strict=True):
            write_wave(folder / name / file, wave, 8000, "FLOAT")


def test_public_sets_lie_where_their_scripts_put_them(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIMIX_DATA", str(tmp_path))
    anechoic = ("mix_both_reverb", "s1_anechoic", "s2_anechoic")
    for source, folder, names in [
        (LibriMix("train-100"), "Libri2Mix/wav8k/min/train-100", ("mix_clean", "s1", "s2")),
        (LibriMix("dev", "mix_both", 3, 16, "max"), "Libri3Mix/wav16k/max/dev", ("mix_both", "s1", "s2", "s3")),
        (WSJ0Mix("tr", 3), "wsj0-mix/3speakers/wav8k/min/tr", ("mix", "s1", "s2", "s3")),
        (WHAM("cv"), "wham/wav8k/min/cv", ("mix_both", "s1", "s2")),
        (WHAMR(), "whamr/wav8k/min/tt", anechoic),
    ]:
        with pytest.raises(UserError, match=r"not found; get .*, or name another root folder in OMNIMIX_DATA"):
            source.items()
        fill(tmp_path / "audio" / folder, names)
        items = source.items()
        assert [item.name for item in items] == ["a", "b"]
        mixture, targets = items[0].load(8000)
        assert mixture.shape == (800,) and targets.shape == (len(names) - 1, 800)
        np.testing.assert_allclose(mixture, targets.sum(0), atol=1e-6)
        assert items[0].load(16000).targets.shape == (len(names) - 1, 1600)
    assert LibriMix(path="elsewhere").path.parts[0] == "elsewhere" and LibriMix().label == "Libri2Mix test"


def test_folders_that_do_not_fit_together(tmp_path):
    fill(tmp_path)
    with pytest.raises(UserError, match=r"has no folder mix_clean\. It has mix, s1, s2\. Did you mean mix\?"):
        Folders(str(tmp_path), "mix_clean").items()
    write_wave(tmp_path / "s2" / "a.wav", noise(700), 8000)
    with pytest.raises(UserError, match=r"a\.wav: has 700 samples, its mixture a\.wav 800"):
        Folders(str(tmp_path)).items()[0].load(8000)
    (tmp_path / "s2" / "b.wav").unlink()
    with pytest.raises(UserError, match=r"s2.b\.wav: not found, but .*mix.b\.wav is there"):
        Folders(str(tmp_path)).items()


@pytest.mark.parametrize(
    "header", ["mixture_ID,mixture_path,source_1_path,source_2_path,length", "ID,mix_wav,s1_wav,s2_wav,duration"]
)
@pytest.mark.parametrize("root", ["", "/somewhere/else/", "absolute"])
def test_lists_of_mixtures(tmp_path, header, root):
    """LibriMix's and SpeechBrain's, with paths as they are here, relative to the list, or of another machine."""
    fill(tmp_path / "Libri2Mix" / "test", files=("a.wav", "b.wav"))
    root = f"{tmp_path}/" if root == "absolute" else root
    rows = [
        f"{n},{root}Libri2Mix/test/mix/{n}.wav,{root}Libri2Mix/test/s1/{n}.wav,{root}Libri2Mix/test/s2/{n}.wav,1"
        for n in "ba"
    ]
    path = tmp_path / "Libri2Mix" / "metadata" / "test.csv"
    path.parent.mkdir()
    path.write_text("\ufeff" + "\n".join([header, *rows]) + "\n", encoding="utf-8")
    items = MixtureCsv(str(path)).items()
    assert [item.name for item in items] == ["b", "a"] and MixtureCsv(str(path)).label == "test"
    assert [source.parent.name for source in items[1].sources] == ["s1", "s2"]
    mixture, targets = items[1].load(8000)
    np.testing.assert_allclose(mixture, targets.sum(0), atol=1e-6)


def test_lists_that_name_what_is_not_there(tmp_path):
    fill(tmp_path, files=("a.wav",))
    path = tmp_path / "list.csv"

    def refused(text, match):
        path.write_text(text)
        with pytest.raises(UserError, match=match):
            MixtureCsv(str(path)).items()

    good = "a,mix/a.wav,s1/a.wav,s2/a.wav"
    head = "mixture_ID,mixture_path,source_1_path,source_2_path\n"
    refused(
        f"{head}{good}\na,mix/a.wav,s1/b.wav,s2/a.wav\n",
        r"list\.csv row 3: source_1_path names s1.b\.wav, which is not",
    )
    refused(f"{head}{good}\na,mix/a.wav,,s2/a.wav\n", "row 3: column source_1_path is empty")
    refused(f"{head}a,mix/a.wav\n", "row 2: column source_1_path is empty")
    refused("name,mixture_pth\na,b\n", r"has no column mixture_path or mix_wav\. Did you mean mixture_pth\?")
    refused("mixture_path,source_1_path\nmix/a.wav,s1/a.wav\n", "lists 1 speakers")
    refused(head, "lists nothing")
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match="not a list of comma-separated values"):
        MixtureCsv(str(path)).items()
    with pytest.raises(UserError, match=r"none\.csv: cannot be read"):
        MixtureCsv(str(tmp_path / "none.csv")).items()


def test_references_in_the_channels_of_one_file(tmp_path):
    stereo = np.round(noise(2, 600) * 2**15).astype(np.float32) / 2**15
    write_wave(tmp_path / "test" / "07.flac", stereo, 8000)
    (tmp_path / "test.csv").write_text("item,frames\n07,600\n")
    (item,) = Samples(str(tmp_path)).items()
    mixture, targets = item.load(8000)
    assert item.frames == 600 and np.array_equal(targets, stereo) and np.array_equal(mixture, stereo[0] + stereo[1])
    assert item.seconds() == 0.075
    write_wave(tmp_path / "test" / "07.flac", stereo[:, :500], 8000)
    with pytest.raises(UserError, match="samples 0 to 600 were asked for, it has 500"):
        item.load(8000)
    write_wave(tmp_path / "test" / "07.flac", stereo[0], 8000)
    with pytest.raises(UserError, match="has one channel; it needs one of each speaker"):
        item.load(8000)
    (tmp_path / "test.csv").write_text("item,frames\n07,600\n08,600\n")
    with pytest.raises(UserError, match=r"test\.csv row 3: .*08\.flac is not there"):
        Samples(str(tmp_path)).items()
    (tmp_path / "test.csv").write_text("item,frames\n07,many\n")
    with pytest.raises(UserError, match="row 2: frames is 'many', not a number of samples"):
        Samples(str(tmp_path)).items()


@pytest.mark.skipif(not (data_folder("") / "test.csv").is_file(), reason="the 28 mixtures are not on this machine")
def test_shipped_mixtures():
    items = Samples().items()
    assert len(items) == 28 and sum(item.frames for item in items) == 1184360
    mixture, targets = items[0].load(8000)
    assert targets.shape == (2, items[0].frames) and np.array_equal(mixture, targets.sum(0))
    assert np.array_equal(mixture * 2**15, np.round(mixture * 2**15)) and abs(mixture).max() < 1
