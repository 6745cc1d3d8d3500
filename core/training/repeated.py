"""A recipe that is fitted again and again: what protocols over seeds, splits and sets are made of.

The recipe is parsed once and instantiated anew for every fit, in the order of the command line: the same task, data
module and trainer as `omnimix <domain> fit`, and the same seed gives the same weights.
"""

__all__ = ["Fitted", "Training"]

import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from jsonargparse import ActionConfigFile

from core.training import recipes
from core.training.callbacks import Checkpoints, EpochLines
from core.training.cli import SECTIONS, Parser, Runner, quiet
from core.training.task import Task


@dataclass
class Fitted:
    """A trained network with its data; `seconds` is what the training took."""

    task: Any
    data: Any
    trainer: Runner
    seconds: float


class Training:
    """A recipe that can be fitted many times.

    Args:
        domain: whose recipes are meant.
        task, data: its classes.
        recipe: a shipped recipe's name or a YAML file.
        words: command-line overrides, as `--trainer.max_epochs 3`.
        change: of the recipe's plain values before they are parsed, in place.

    Raises:
        core.errors.UserError: no such recipe, or an override that does not fit.
    """

    def __init__(
        self,
        domain: str,
        task: type[Task],
        data: type[pl.LightningDataModule],
        recipe: str,
        words: Sequence[str] = (),
        change: Callable[[dict[str, Any]], None] | None = None,
    ):
        quiet()
        warnings.filterwarnings("ignore", ".*defined a `validation_step` but have no `val_dataloader`.*")
        path = recipes.find(recipe, domain)
        config = {k: v for k, v in yaml.safe_load(path.read_text()).items() if k in SECTIONS}
        if change is not None:
            change(config)
        self.name = path.stem
        # An abbreviated option would be a second name of the same settings.
        self.parser = Parser()
        self.parser.add_argument("--config", action=ActionConfigFile)
        self.parser.add_argument("--seed_everything", type=int | bool, default=0)
        self.parser.add_lightning_class_args(Runner, "trainer")
        self.parser.add_lightning_class_args(task, "model")
        self.parser.add_lightning_class_args(data, "data")
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "recipe.yaml"
            file.write_text(yaml.safe_dump(config))
            self.config = self.parser.parse_args([f"--config={file}", *words])

    @property
    def label(self) -> str:
        """The network's name."""
        return self.made().model.label

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration as plain values, without seed."""
        plain = yaml.safe_load(self.parser.dump(self.config, skip_none=True))
        return {section: plain[section] for section in ("model", "data", "trainer") if section in plain}

    def made(self) -> Any:
        """Fresh `model`, `data` and `trainer` (its arguments)."""
        return self.parser.instantiate_classes(self.config)

    def fit(self, seed: int, change: Callable[[Any], None] | None = None, *, select: bool = True) -> Fitted:
        """Trains once.

        Args:
            seed: of weights, order and dropout.
            change: of the data module before anything is loaded, in place.
            select: keep the epoch that is best on the validation part; otherwise the last one, without validating.
        """
        started = time.perf_counter()
        pl.seed_everything(seed, workers=True, verbose=False)
        made = self.made()
        task, data = made.model, made.data
        if change is not None:
            change(data)
        with tempfile.TemporaryDirectory() as scratch:
            extra: list[pl.Callback] = [EpochLines()]
            settings = dict(made.trainer)
            if select:
                extra.append(Checkpoints(Path(scratch), task.monitor, task.mode))
            else:
                settings |= {"limit_val_batches": 0, "enable_checkpointing": False}
            trainer = self.trainer(settings, extra)
            trainer.fit(task, datamodule=data)
            if select:
                best = torch.load(trainer.checkpoint_callback.best_model_path, map_location="cpu", weights_only=True)  # type: ignore[union-attr]
                task.load_state_dict(best["state_dict"])
                task.on_load_checkpoint(best)
        return Fitted(task, data, trainer, time.perf_counter() - started)

    @staticmethod
    def trainer(settings: dict[str, Any], extra: list[pl.Callback]) -> Runner:
        """A trainer without logs and bars, with further callbacks."""
        own = settings.get("callbacks") or []
        settings |= {
            "callbacks": [*(own if isinstance(own, list) else [own]), *extra],
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
        }
        return Runner(**settings)
