"""What every run has: its first line, its curve, its checkpoints, and a place to go on from."""

__all__ = ["Announce", "Checkpoints", "CurveLogger", "EpochLines", "GoOn", "WholeFiles"]

import csv
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from core.training.files import writing
from core.training.loader import ResumableLoader


class CurveLogger(Logger):
    """`metrics.csv` in the run's folder: one row a logged step, columns as they come, rewritten whole.

    A resumed run keeps the rows up to the step it goes on from, which Lightning's own CSV logger deletes.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.rows: dict[int, dict[str, float]] = {}

    @property
    def name(self) -> str:
        return self.folder.parent.name

    @property
    def version(self) -> str:
        return self.folder.name

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    @property
    @rank_zero_experiment
    def experiment(self) -> dict:
        return self.rows

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: `config.yaml` holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.setdefault(int(step or 0), {}).update(metrics)

    @rank_zero_only
    def resume(self, step: int) -> None:
        """Takes up an existing file up to a step."""
        path = self.folder / "metrics.csv"
        if path.is_file():
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    if int(row["step"]) <= step:
                        self.rows[int(row["step"])] = {
                            k: int(v) if v.isdigit() else float(v) for k, v in row.items() if k != "step" and v
                        }

    @rank_zero_only
    def save(self) -> None:
        if not self.rows:
            return
        columns = ["step", *dict.fromkeys(name for row in self.rows.values() for name in row)]
        with writing(self.folder / "metrics.csv") as path, path.open("w", newline="") as file:
            table = csv.DictWriter(file, columns)
            table.writeheader()
            table.writerows({"step": step, **row} for step, row in sorted(self.rows.items()))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()


class GoOn(Callback):
    """Random states in the checkpoint, so that an interrupted run ends as an uninterrupted one does; Ctrl-C saves.

    With several processes the checkpoint holds those of the first; the others draw theirs from it and their rank.
    """

    def __init__(self):
        self.states: dict[str, Any] = {}
        self.stop, self.before = False, None
        self.trainer: pl.Trainer | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        name, keys, *rest = np.random.get_state(legacy=True)
        kind, values, gauss = random.getstate()
        state = {
            "torch": torch.get_rng_state(),
            "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
            "python": [kind, list(values), gauss],
        }
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state()
        # Lightning stores the loader's place too, but does not always hand it back.
        loader = self.trainer.train_dataloader if self.trainer is not None else None
        if isinstance(loader, ResumableLoader):
            state["loader"] = loader.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.states = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.states:
            return
        states, self.states = self.states, {}
        if "loader" in states and isinstance(trainer.train_dataloader, ResumableLoader):
            trainer.train_dataloader.load_state_dict(states["loader"])
        for logger in trainer.loggers:
            if isinstance(logger, CurveLogger):
                logger.resume(trainer.global_step)
        if trainer.global_rank:
            torch.manual_seed(int(states["torch"].sum()) + trainer.global_rank)
            return
        torch.set_rng_state(states["torch"])
        if "cuda" in states and torch.cuda.is_available():
            torch.cuda.set_rng_state(states["cuda"])
        name, keys, *rest = states["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
        kind, values, gauss = states["python"]
        random.setstate((kind, tuple(values), gauss))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGINT, self._asked)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._release()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._release()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        # Here and nowhere else, because a step that is half done cannot be taken up again.
        if not self.stop:
            return
        path = Path(trainer.log_dir or ".") / "checkpoints" / "last.ckpt"
        trainer.save_checkpoint(path)
        print(f"\nstopped; {path} is saved: the same command with --ckpt_path last goes on", flush=True)
        raise KeyboardInterrupt

    def _asked(self, *args: Any) -> None:
        if self.stop:  # asked twice: at once, without saving
            raise KeyboardInterrupt
        self.stop = True
        print("\nstopping after this step (again: at once, without saving)", flush=True)

    def _release(self) -> None:
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)
            self.before = None


class Checkpoints(ModelCheckpoint):
    """`checkpoints/best.ckpt` by the least monitored value (mode max: the greatest), `last.ckpt` after each epoch.

    Lightning's own writes `last.ckpt` only when the best one changes, so that going on would repeat epochs.

    Args:
        folder: of the run.
        monitor: a logged value.
        mode: min or max.
    """

    def __init__(self, folder: Path, monitor: str, mode: str = "min"):
        super().__init__(
            dirpath=folder / "checkpoints",
            filename="best",
            monitor=monitor,
            mode=mode,
            save_last=True,
            enable_version_counter=False,
            auto_insert_metric_name=False,
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if self._should_save_on_train_epoch_end(trainer):
            self._last(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if not self._should_save_on_train_epoch_end(trainer):
            self._last(trainer)

    def _last(self, trainer: pl.Trainer) -> None:
        if not self._should_skip_saving_checkpoint(trainer):  # it does if this step was saved
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))


class WholeFiles(TorchCheckpointIO):
    """Checkpoint files that appear whole or not at all, so that a run killed while it saves can go on."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with writing(path) as beside:
            super().save_checkpoint(checkpoint, beside, storage_options)


class Announce(Callback):
    """The first line of a run: model and size, data and sizes, device, precision, threads, where results go."""

    def __init__(self, seed: int | None):
        self.seed, self.said = seed, False

    def say(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.said:
            return
        self.said = True
        # All processes ask for it: the first one sends it to the others.
        folder = trainer.log_dir
        if not trainer.is_global_zero:
            return
        count = sum(p.numel() for p in module.parameters())
        # Evaluation and prediction hand loaders to Lightning, the runner knows whose they are.
        data = getattr(trainer, "datamodule", None) or getattr(trainer, "data", None)
        describe = getattr(data, "describe", lambda: "data")
        print(
            f"{getattr(module, 'label', type(module).__name__)} ({count:,} parameters) | {describe()} | "
            f"{trainer.strategy.root_device}, {trainer.precision}, {torch.get_num_threads()} threads, "
            f"seed {self.seed} | {folder}",
            flush=True,
        )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.say(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.say(trainer, pl_module)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.say(trainer, pl_module)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.say(trainer, pl_module)


class EpochLines(Callback):
    """One line an epoch, for logs that are not a terminal."""

    def __init__(self):
        self.started = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.perf_counter()

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        values = {k: v for k, v in trainer.callback_metrics.items() if not k.endswith("_step")}
        numbers = "  ".join(f"{name} {float(value):.4f}" for name, value in sorted(values.items()))
        seconds = time.perf_counter() - self.started
        print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {numbers}  {seconds:.1f} s", flush=True)


def watching() -> bool:
    """Whether a person sees a terminal."""
    return sys.stderr.isatty()
