"""The base of all tasks: optimiser and schedule by injection, a checkpoint that knows what it needs."""

__all__ = ["Evaluation", "OptimizerFactory", "ScheduleFactory", "Task", "factory_class"]

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.optim import Optimizer

from core.training.schedules import Plateau, Schedule

OptimizerFactory = Callable[[Iterable], Optimizer]
ScheduleFactory = Callable[[Optimizer, int, int], Schedule | Plateau]


@dataclass
class Evaluation:
    """What an evaluation found, for the terminal, `results.json` and the report.

    Args:
        task, protocol, data, split, model: names.
        metrics: the model's numbers.
        tables: `core.training.report.Table`s, the main one first.
        sections: `core.training.report.Section`s with pictures.
        sentence: what was done, for a reader who sees nothing else.
        seconds: what the evaluation took.
    """

    task: str
    protocol: str
    data: str
    split: str
    model: str
    metrics: dict[str, float]
    tables: list = field(default_factory=list)
    sections: list = field(default_factory=list)
    sentence: str = ""
    seconds: float = 0.0


def factory_class(factory: Callable) -> type:
    """The class behind a factory: the class itself, a `functools.partial` of it, or what the command line makes."""
    while not inspect.isclass(factory):
        nested = [part for part in getattr(factory, "args", ()) if inspect.isclass(part)]
        if nested:
            return nested[0]
        inner = getattr(factory, "func", None)
        if inner is None:
            raise TypeError(f"{factory!r} does not say which class it builds; use functools.partial(Class, ...)")
        factory = inner
    return factory


class Task(pl.LightningModule):
    """A LightningModule with the habits all applications share.

    A task builds its network when the data is known (`setup`) and trains it; how it is evaluated and how it predicts a
    user's files are functions of the application (`core.training.cli.Application`).  Checkpoints hold, under the key
    `omnimix`, the package version, the configuration and what the data say predictions need (`facts`), all of plain
    types.

    Args:
        optimizer: makes the optimiser from parameter groups; vectors (biases, norms) get no weight decay.
        schedule: makes the learning-rate schedule from (optimizer, steps per epoch, epochs); constant if None.
    """

    monitor = "val_loss"
    """Which logged value chooses the best checkpoint."""

    mode = "min"
    """Whether the least (min) or the greatest (max) of these values is the best."""

    def __init__(self, optimizer: OptimizerFactory = torch.optim.AdamW, schedule: ScheduleFactory | None = None):
        super().__init__()
        self.optimizer, self.schedule = optimizer, schedule
        self.facts: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.command = ""
        # What the command begins with, for tasks whose network depends on what a checkpoint says of its data.
        self.checkpoint: str | None = None

    def configure_optimizers(self) -> Any:
        rates: dict[float, list[nn.Parameter]] = {}
        for name, p in self.named_parameters():
            if p.requires_grad:
                rates.setdefault(self.rate(name), []).append(p)
        groups: list[dict[str, Any]] = []
        factors = []
        for factor, parameters in rates.items():
            groups.append({"params": [p for p in parameters if p.dim() >= 2]})
            groups.append({"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0})
            factors += [factor] * sum(bool(group["params"]) for group in groups[-2:])
        optimizer = self.optimizer([group for group in groups if group["params"]])
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] *= factor
        if self.schedule is None:
            return optimizer
        epochs = self.trainer.max_epochs or 1
        steps = int(self.trainer.estimated_stepping_batches)
        per_epoch = max(1, round(steps / epochs)) if self.trainer.max_epochs else steps
        schedule = self.schedule(optimizer, per_epoch, max(1, epochs))
        how: dict[str, Any] = {"scheduler": schedule, "interval": "step"}
        if isinstance(schedule, Plateau):
            schedule.watch(self.mode)
            how |= {"interval": "epoch", "monitor": self.monitor}
        return {"optimizer": optimizer, "lr_scheduler": how}

    def rate(self, name: str) -> float:
        """Factor of the learning rate for a parameter of this name."""
        return 1.0

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["omnimix"] = {"version": version("omnimix"), "config": self.config, "facts": self.facts}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.facts = checkpoint.get("omnimix", {}).get("facts", self.facts)

    def restore_facts(self, ckpt_path: str | None) -> None:
        """What a checkpoint says of its data, before the network is built."""
        if ckpt_path:
            self.facts = torch.load(ckpt_path, map_location="cpu", weights_only=True)["omnimix"]["facts"]
