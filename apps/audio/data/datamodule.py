"""Speech and mixtures to batches for training, evaluation and prediction.

Training batches hold windows of one length; a source of speech is mixed anew at every step, one of fixed mixtures is
cut at random places. Validation and test give whole mixtures one by one. All batches are the same dictionary:

    mixture (B, T) and targets (B, S, T) float32, lengths (B,) int64, and of whole mixtures their names and numbers
"""

__all__ = ["SeparationData"]

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset

from apps.audio.mixing import Mixing
from core.errors import UserError
from core.training.draws import Draws
from core.training.loader import ResumableLoader

from .items import Clip, Mixture, MixtureItem
from .samples import Crops, Dynamic, Mixed, Whole, collate, collate_whole
from .sources import Mixtures, Source
from .speech import Listed, Speech, Store

SHORTEST = 4.0
"""Seconds of a mixture that is made for validation or test."""


class SeparationData(pl.LightningDataModule):
    """Windows of a source to train on, whole mixtures for validation and test.

    Without a `validation` source, 24 fixed mixtures of every tenth speaker of `train` (who are then not trained on) are
    the validation, or, where `train` is fixed mixtures, every tenth of these; without a `test` source the validation is
    the test.

    Args:
        train: speech that is mixed at every step, or fixed mixtures.
        validation: mixtures to choose the checkpoint on, or speech of which 24 are made.
        test: mixtures of the evaluation, or speech of which 24 are made.
        files: recordings and folders of recordings that predict separates.
        sample_rate: of everything the network sees; files of another rate are resampled.
        speakers: S.
        seconds: length of a training window.
        batch_size: windows in a step.
        steps: in an epoch.
        mixing: how speech is mixed; by default S speakers as `Mixing` says.
        evaluation_batch: whole mixtures in a batch of validation and test, of similar lengths where more than one.
        memory_mb: what decoded utterances may take, in each loader process.
        workers: loader processes.
    """

    def __init__(
        self,
        train: Source | None = None,
        validation: Source | None = None,
        test: Source | None = None,
        files: list[str] | None = None,
        sample_rate: int = 8000,
        speakers: int = 2,
        seconds: float = 4.0,
        batch_size: int = 1,
        steps: int = 1000,
        mixing: Mixing | None = None,
        evaluation_batch: int = 1,
        memory_mb: float = 2000,
        workers: int = 0,
    ):
        super().__init__()
        if min(sample_rate, speakers, batch_size, steps, evaluation_batch) < 1 or seconds * sample_rate < 1:
            raise UserError(
                f"--data: sample_rate {sample_rate}, speakers {speakers}, seconds {seconds:g}, batch_size "
                f"{batch_size}, steps {steps} and evaluation_batch {evaluation_batch} must be at least 1."
            )
        if train is None and validation is None and test is None and not files:
            raise UserError("--data: name speech with --data.train, or recordings with --data.files.")
        if mixing is not None and mixing.speakers != speakers:
            raise UserError(
                f"--data.mixing.speakers {mixing.speakers}: --data.speakers is {speakers}; make them equal."
            )
        self.train, self.validation, self.test, self.files = train, validation, test, files or []
        self.sample_rate, self.speakers, self.seconds = sample_rate, speakers, seconds
        self.batch_size, self.steps, self.evaluation_batch = batch_size, steps, evaluation_batch
        self.mixing = mixing or Mixing(speakers=speakers)
        self.memory_mb, self.workers = memory_mb, workers
        self._items: dict[str, list[MixtureItem]] = {}
        self._store: Store | None = None

    @property
    def label(self) -> str:
        """The test data in a word."""
        source = self.test or self.validation or self.train
        return source.label if source else "your files"

    def part(self, name: str) -> Whole:
        """Whole mixtures of validation or test."""
        return Whole(self.items(name), self.sample_rate, self.speakers)

    def items(self, name: str) -> list[MixtureItem]:
        """The fixed mixtures of train, validation or test, listed once.

        Raises:
            UserError: there are none.
        """
        if name not in self._items:
            self._items[name] = self._listed(name)
        return self._items[name]

    def store(self) -> Store:
        """The speech to train on.

        Raises:
            UserError: `train` is no speech.
        """
        if self._store is None:
            if not isinstance(self.train, Speech):
                raise UserError("--data.train: is no speech; its mixtures are fixed.")
            self._store = Store(self._clips("train"), self.sample_rate, self.memory_mb)
        return self._store

    def samples(self, seed: int) -> Dataset[Mixture]:
        """Training windows of one seed; sample n depends on (seed, n) alone."""
        frames = round(self.seconds * self.sample_rate)
        if self.train is None:
            raise UserError("--data: there is nothing to train on; name speech or mixtures with --data.train.")
        if isinstance(self.train, Speech):
            return Dynamic(self.store(), self.mixing, frames, seed)
        return Crops(self.items("train"), frames, self.sample_rate, seed)

    def train_dataloader(self) -> DataLoader:
        return ResumableLoader(
            self.samples(int(torch.initial_seed() % 2**31)),
            batch_size=self.batch_size,
            sampler=Draws(self.batch_size * self.steps),
            collate_fn=collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def val_dataloader(self) -> DataLoader:
        return self.loader("validation")

    def test_dataloader(self) -> DataLoader:
        return self.loader("test")

    def loader(self, name: str) -> DataLoader:
        """Whole mixtures of validation or test, in order; sorted by length where several make a batch."""
        part = self.part(name)
        if self.evaluation_batch > 1:
            lengths = [item.seconds() for item in part.items]
            order = sorted(range(len(part)), key=lengths.__getitem__)
            return ResumableLoader(part, batch_size=self.evaluation_batch, sampler=order, collate_fn=collate_whole)
        return ResumableLoader(part, batch_size=1, collate_fn=collate_whole)

    def describe(self) -> str:
        """Names and sizes for the first line of a run."""
        if not (self.train or self.validation or self.test):
            return f"{len(self.files)} files or folders, {self.sample_rate} Hz"
        train = ""
        if isinstance(self.train, Speech):
            store = self.store()
            minutes = sum(clip.seconds for clip in store.clips) / 60
            train = f"{self.train.label}, {len(store.speakers()[0])} speakers, {minutes:.0f} min, "
        elif self.train:
            train = f"{self.train.label}, {len(self.items('train'))} mixtures, "
        window = f"windows of {self.seconds:g} s, " if self.train else ""
        validation = f"validation {len(self.items('validation'))}, " if self.train or self.validation else ""
        return f"{train}{window}{self.sample_rate} Hz; {validation}test {len(self.items('test'))} mixtures"

    def _listed(self, name: str) -> list[MixtureItem]:
        if name not in ("train", "validation", "test"):
            raise ValueError(f"SeparationData: part {name!r} is not one of train, validation, test.")
        source = getattr(self, name)
        if name == "test" and source is None:
            return self.items("validation")
        if name != "train" and isinstance(source, Speech):
            return self._mixed(source)
        if name != "train" and source is not None:
            return _mixtures(source)
        if self.train is None:
            raise UserError(f"--data: there are no {name} mixtures; name them with --data.{name}.")
        if isinstance(self.train, Speech):
            if name == "train":
                raise UserError(f"--data.train: {self.train.label} is speech; it has no fixed mixtures.")
            return self._mixed(Listed(self._clips("validation"), self.train.label))
        items = _mixtures(self.train)
        if self.validation is not None:
            return items
        if len(items) < 2:
            raise UserError(f"{self.train.label}: holds one mixture; add more, or name --data.validation.")
        return [item for n, item in enumerate(items) if (n % 10 == 0) == (name == "validation")]

    def _mixed(self, speech: Speech) -> list[MixtureItem]:
        """Fixed mixtures, like those of the training but at the speakers' own speed, and of 4 s at least."""
        like = self.mixing
        still = Mixing(
            self.speakers, like.levels, like.level, (1.0, 1.0), like.noise, like.noise_levels, like.room, like.peak
        )
        return Mixed(speech, seconds=max(self.seconds, SHORTEST), mixing=still).items()

    def _clips(self, name: str) -> list[Clip]:
        """Utterances to train on, or those of the speakers who are held out for validation."""
        assert isinstance(self.train, Speech)
        clips = self.train.clips()
        if self.validation is not None:
            return clips
        names = sorted({clip.speaker for clip in clips})
        held = set(names[:: max(2, min(10, len(names) // self.speakers))])
        if min(len(held), len(names) - len(held)) < self.speakers:
            raise UserError(
                f"{self.train.label}: has {len(names)} speakers, too few to hold some out; name --data.validation."
            )
        return [clip for clip in clips if (clip.speaker in held) == (name == "validation")]


def _mixtures(source: Source) -> list[MixtureItem]:
    if not isinstance(source, Mixtures):
        raise UserError(f"--data: {type(source).__name__} is neither speech nor mixtures; name another source.")
    return source.items()
