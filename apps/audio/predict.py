"""A user's recordings in, one file a speaker out."""

__all__ = ["predict"]

from pathlib import Path

import lightning.pytorch as pl
import torch

from apps.audio.data.datamodule import SeparationData
from apps.audio.data.waves import check_ending, list_waves
from apps.audio.separate import separate_file
from apps.audio.task import SeparationTask
from core.errors import UserError
from core.training.files import refuse_existing


def predict(task: SeparationTask, trainer: pl.Trainer, data: SeparationData, ckpt_path: str | None, out: Path) -> None:
    """Separates `--data.files` into the folder `out`: mix.wav becomes mix_speaker1.wav, mix_speaker2.wav, ...

    A recording may have any length, rate and number of channels; results have its length, rate and sample format.

    Raises:
        UserError: no files, a file that cannot be read, results that exist already.
    """
    if not data.files:
        raise UserError("predict needs --data.files: recordings or folders of recordings.")
    if out.suffix:
        raise UserError(f"--out {out}: is a file name; name a folder, there is one file a speaker.")
    task.restore_facts(ckpt_path)
    task.prepare(data.speakers, data.sample_rate)
    state = torch.load(str(ckpt_path), map_location="cpu", weights_only=True)["state_dict"]
    task.load_state_dict(state)
    device = trainer.strategy.root_device
    task.to(device).eval()
    files = listed(data.files)
    targets = [[out / f"{path.stem}_speaker{n + 1}{path.suffix}" for n in range(data.speakers)] for path in files]
    for n, names in enumerate(targets):
        if names in targets[:n]:
            raise UserError(f"{files[n]}: would be written to {names[0]} like an earlier file; separate it by itself.")
        for name in names:
            check_ending(name)
            refuse_existing(name, trainer.overwrite)
    rank, ranks = trainer.global_rank, trainer.world_size
    for path, names in list(zip(files, targets, strict=True))[rank::ranks]:
        done = separate_file(
            task, path, names, data.sample_rate, seconds=task.window, device=device, progress=path.name
        )
        quieter = f", made {done.factor:.2f} times quieter, which keeps it from clipping" if done.factor < 1 else ""
        print(f"{', '.join(map(str, names))}: {done.frames:,} samples each{quieter}", flush=True)


def listed(names: list[str]) -> list[Path]:
    """Files as named, folders as the recordings in them."""
    files = []
    for path in map(Path, names):
        files += list_waves(path) if path.is_dir() else [path]
    return files
