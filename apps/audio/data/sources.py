"""Where a data module takes speech and mixtures from: sets of fixed mixtures, and speech that is mixed on the fly.

A source is named in YAML by `class_path`. Public sets lie in `audio/<name>` below $OMNIMIX_DATA or `data`, in the
folders that their scripts make:

    LibriMix    Libri2Mix/wav8k/min/{train-360,train-100,dev,test}/{mix_clean,mix_both,mix_single,s1,s2,noise}
    WSJ0-mix    2speakers/wav8k/min/{tr,cv,tt}/{mix,s1,s2}
    WHAM!       wav8k/min/{tr,cv,tt}/{mix_clean,mix_both,mix_single,s1,s2,noise}
    WHAMR!      the same with mix_both_reverb and so on; the references are anechoic, s1_anechoic

A folder whose files do not fit together, or a list that names a missing file, is one sentence.
"""

__all__ = ["WHAM", "WHAMR", "Folders", "LibriMix", "MixtureCsv", "Mixtures", "Samples", "Source", "WSJ0Mix"]

from pathlib import Path
from typing import ClassVar

from core.errors import UserError, nearest

from .items import FileMixture, MixtureItem, StereoMixture
from .lists import Located, number, read_rows
from .public import data_folder, part_folder
from .waves import list_waves


class Source:
    """Base class of what can be named as data."""

    label = "audio"


class Mixtures(Source):
    """Base class: `items()` lists fixed mixtures, all with as many references as there are speakers."""

    def items(self) -> list[MixtureItem]:
        """One entry a mixture, in a fixed order."""
        raise TypeError(f"{type(self).__name__} must define items")


class Folders(Mixtures):
    """A folder of mixtures and one of each speaker, in which the same names belong together.

    Args:
        path: the folder that holds them.
        mixture: name of the folder of mixtures.
        sources: names of the folders of the speakers.
    """

    record = "its mixtures"

    def __init__(self, path: str, mixture: str = "mix", sources: tuple[str, ...] = ("s1", "s2")):
        self.path, self.mixture, self.sources = Path(path), mixture, tuple(sources)
        self.label = self.path.name

    def items(self) -> list[MixtureItem]:
        folder = part_folder(self.path, self.mixture, self.record)
        others = [part_folder(self.path, name, self.record) for name in self.sources]
        items: list[MixtureItem] = []
        for path in list_waves(folder):
            relative = path.relative_to(folder)
            sources = tuple(other / relative for other in others)
            for source in sources:
                if not source.is_file():
                    raise UserError(f"{source}: not found, but {path} is there; the folders must hold the same names.")
            items.append(FileMixture(relative.with_suffix("").as_posix(), path, sources))
        return items


class LibriMix(Folders):
    """Libri2Mix or Libri3Mix (Cosentino et al. 2020), mixed from LibriSpeech.

    Args:
        part: train-360, train-100, dev or test.
        mixture: mix_clean, or mix_both with the noise of WHAM!.
        speakers: 2 or 3.
        rate: 8 or 16 kHz.
        mode: min (cut to the shorter utterance) or max.
        path: folder of the set; `audio/Libri2Mix` below $OMNIMIX_DATA or `data` by default.
    """

    record = "LibriMix by the scripts of https://github.com/JorisCos/LibriMix"

    def __init__(
        self,
        part: str = "test",
        mixture: str = "mix_clean",
        speakers: int = 2,
        rate: int = 8,
        mode: str = "min",
        path: str | None = None,
    ):
        name = f"Libri{speakers}Mix"
        folder = data_folder(name, path) / f"wav{rate}k" / mode
        super().__init__(str(folder / part), mixture, tuple(f"s{n + 1}" for n in range(speakers)))
        self.label = f"{name} {part}"


class WSJ0Mix(Folders):
    """WSJ0-2mix or WSJ0-3mix (Hershey et al. 2016).

    Args:
        part: tr, cv or tt.
        speakers: 2 or 3.
        rate: 8 or 16 kHz.
        mode: min or max.
        path: folder of the set; `audio/wsj0-mix` below $OMNIMIX_DATA or `data` by default.
    """

    record = "WSJ0 (LDC93S6A) mixed by the scripts of https://www.merl.com/research/highlights/deep-clustering"

    def __init__(self, part: str = "tt", speakers: int = 2, rate: int = 8, mode: str = "min", path: str | None = None):
        folder = data_folder("wsj0-mix", path) / f"{speakers}speakers" / f"wav{rate}k" / mode / part
        super().__init__(str(folder), "mix", tuple(f"s{n + 1}" for n in range(speakers)))
        self.label = f"WSJ0-{speakers}mix {part}"


class WHAM(Folders):
    """WSJ0-2mix with noise of real places (Wichern et al. 2019).

    Args:
        part: tr, cv or tt.
        mixture: mix_both (two speakers and noise) or mix_clean.
        rate: 8 or 16 kHz.
        mode: min or max.
        path: folder of the set; `audio/wham` below $OMNIMIX_DATA or `data` by default.
    """

    record = "WHAM! (http://wham.whisper.ai)"

    def __init__(
        self, part: str = "tt", mixture: str = "mix_both", rate: int = 8, mode: str = "min", path: str | None = None
    ):
        super().__init__(str(data_folder("wham", path) / f"wav{rate}k" / mode / part), mixture)
        self.label = f"WHAM! {part}"


class WHAMR(Folders):
    """WHAM! in reverberant rooms (Maciejewski et al. 2020); the references are what the room did not change.

    Args:
        part: tr, cv or tt.
        mixture: mix_both_reverb, mix_clean_reverb, mix_both_anechoic or mix_clean_anechoic.
        rate: 8 or 16 kHz.
        mode: min or max.
        path: folder of the set; `audio/whamr` below $OMNIMIX_DATA or `data` by default.
    """

    record = "WHAMR! (http://wham.whisper.ai)"

    def __init__(
        self,
        part: str = "tt",
        mixture: str = "mix_both_reverb",
        rate: int = 8,
        mode: str = "min",
        path: str | None = None,
    ):
        folder = data_folder("whamr", path) / f"wav{rate}k" / mode / part
        super().__init__(str(folder), mixture, ("s1_anechoic", "s2_anechoic"))
        self.label = f"WHAMR! {part}"


class MixtureCsv(Mixtures):
    """A list of mixtures as LibriMix's `metadata` or SpeechBrain write it, a row a mixture.

    Columns: mixture_ID, mixture_path, source_1_path, source_2_path and so on (LibriMix), or ID, mix_wav, s1_wav, s2_wav
    (SpeechBrain). Paths that are absolute and from another machine are looked for around the list.

    Args:
        path: of the .csv.
    """

    MIXTURE: ClassVar = ("mixture_path", "mix_wav")
    SOURCE: ClassVar = ("source_{}_path", "s{}_wav")

    def __init__(self, path: str):
        self.path = Path(path)
        self.label = self.path.stem

    def items(self) -> list[MixtureItem]:
        rows = read_rows(self.path)
        columns = list(rows[0].fields)
        kind = next((n for n, name in enumerate(self.MIXTURE) if name in columns), None)
        if kind is None:
            raise UserError(
                f"{self.path}: has no column mixture_path or mix_wav.{nearest('mixture_path', columns)} Columns are "
                f"{', '.join(columns)}."
            )
        names = [self.SOURCE[kind].format(n) for n in range(1, len(columns) + 1)]
        names = [name for name in names if name in columns]
        if len(names) < 2:
            raise UserError(f"{self.path}: lists {len(names)} speakers; it needs columns {self.SOURCE[kind].format(1)} "
                            f"and {self.SOURCE[kind].format(2)}.")  # fmt: skip
        find, items = Located(self.path), []
        for row in rows:
            mixture = find(row, self.MIXTURE[kind])
            name = row.fields.get("mixture_ID") or row.fields.get("ID") or mixture.stem
            items.append(FileMixture(name, mixture, tuple(find(row, name) for name in names)))
        return list(items)


class Samples(Mixtures):
    """28 two-speaker mixtures of Libri2Mix's test part at 8 kHz, a file with a reference in each channel.

    Args:
        path: folder with `test.csv` and `test/NN.flac`; `audio` below $OMNIMIX_DATA or `data` by default.
    """

    label = "28 mixtures of Libri2Mix test"

    def __init__(self, path: str | None = None):
        self.path = data_folder("", path)

    def items(self) -> list[MixtureItem]:
        items: list[MixtureItem] = []
        for row in read_rows(self.path / "test.csv"):
            path = self.path / "test" / f"{row['item']}.flac"
            if not path.is_file():
                raise UserError(f"{row}: {path} is not there; copy the folder again.")
            items.append(StereoMixture(row["item"], path, number(row, "frames")))
        return items
