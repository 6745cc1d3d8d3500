"""Learning-rate schedules, counted in optimiser steps but for `Plateau`, which watches the validation.

A schedule is built by the task as `schedule(optimizer, steps_per_epoch, epochs)`; further arguments come from the
recipe.
"""

__all__ = ["Halving", "MultiStep", "OneCycle", "Plateau", "Poly", "Schedule"]

import math
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau


class Schedule(LambdaLR):
    """Base class: a factor of the learning rate for every step.

    Args:
        optimizer: whose rate is scaled.
        steps_per_epoch: optimiser steps in an epoch.
        epochs: epochs of the whole run.
    """

    def __init__(self, optimizer: Optimizer, steps_per_epoch: int, epochs: int):
        self.steps_per_epoch, self.epochs = steps_per_epoch, epochs
        super().__init__(optimizer, self.factor)

    def factor(self, step: int) -> float:
        """Of the optimiser's rate at this step."""
        return 1.0

    def state_dict(self) -> dict:
        """Plain numbers only, so that a checkpoint holds no code."""
        return {k: v for k, v in super().state_dict().items() if k != "lr_lambdas"}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict({**state_dict, "lr_lambdas": [None] * len(self.lr_lambdas)})


class OneCycle(Schedule):
    """Linear warm-up, then a half cosine to zero at the last step (Smith & Topin 2018, without the momentum cycle).

    Args:
        warmup: share of all steps that the warm-up takes.
    """

    def __init__(self, optimizer: Optimizer, steps_per_epoch: int, epochs: int, warmup: float = 0.1):
        self.warmup = warmup
        super().__init__(optimizer, steps_per_epoch, epochs)

    def factor(self, step: int) -> float:
        total = max(1, self.steps_per_epoch * self.epochs)
        rise = max(1.0, self.warmup * total)
        if step < rise:
            return (step + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, total - rise))))


class Poly(Schedule):
    """(1 - t / T) ** power after a linear warm-up, the schedule of semantic segmentation (Chen et al. 2017, DeepLab).

    Args:
        power: 1 is a straight line.
        warmup: share of all steps that the warm-up takes.
        horizon: T over the length of the run; above 1 the rate does not reach 0, as where releases stop early.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        steps_per_epoch: int,
        epochs: int,
        power: float = 0.9,
        warmup: float = 0.0,
        horizon: float = 1.0,
    ):
        self.power, self.warmup, self.horizon = power, warmup, horizon
        super().__init__(optimizer, steps_per_epoch, epochs)

    def factor(self, step: int) -> float:
        total = max(1, self.steps_per_epoch * self.epochs)
        rise = self.warmup * total
        left = max(0.0, 1 - step / (self.horizon * total)) ** self.power
        return left * (step + 1) / (rise + 1) if step < rise else left


class Halving(Schedule):
    """Half the rate each epoch after the first `keep` ones (`type1` of the Informer line of releases, keep 2)."""

    def __init__(self, optimizer: Optimizer, steps_per_epoch: int, epochs: int, keep: int = 2):
        self.keep = keep
        super().__init__(optimizer, steps_per_epoch, epochs)

    def factor(self, step: int) -> float:
        return 0.5 ** max(0, step // max(1, self.steps_per_epoch) + 1 - self.keep)


class MultiStep(Schedule):
    """The rate times `gamma` at each milestone.

    Args:
        milestones: shares of the whole run; BasicSR's 250, 400, 450 and 475 of 500 thousand steps by default.
        gamma: factor at a milestone.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        steps_per_epoch: int,
        epochs: int,
        milestones: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
        gamma: float = 0.5,
    ):
        self.milestones, self.gamma = list(milestones), gamma
        super().__init__(optimizer, steps_per_epoch, epochs)

    def factor(self, step: int) -> float:
        done = step / max(1, self.steps_per_epoch * self.epochs)
        return self.gamma ** sum(done >= milestone for milestone in self.milestones)


class Plateau(ReduceLROnPlateau):
    """The rate times `gamma` when the value that chooses the checkpoint has not improved for `patience` epochs.

    It is compared with the best value ever; the releases that compare with the last one drift (MossFormer2's trainer).

    Args:
        keep: epochs during which the rate stays, whatever happens (85 in SpeechBrain's separation recipes).
        patience: epochs without improvement that are let pass.
        gamma: factor.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        steps_per_epoch: int,
        epochs: int,
        keep: int = 0,
        patience: int = 2,
        gamma: float = 0.5,
    ):
        super().__init__(optimizer, factor=gamma, patience=patience)
        self.cooldown_counter = keep

    def watch(self, mode: str) -> None:
        """Whether the least (min) or the greatest (max) value is the best."""
        self.mode = mode
        self._init_is_better(mode, self.threshold, self.threshold_mode)
        self.best = self.mode_worse
