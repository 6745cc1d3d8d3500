"""Super-resolution as a Lightning task: any network of `apps.vision.superres.models` on any `SuperResolutionData`."""

__all__ = ["SuperResolutionTask"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from apps.vision.superres.ensemble import Ensemble
from apps.vision.superres.metrics import psnr, to_uint8, to_y
from apps.vision.superres.tiling import enlarge
from core.errors import UserError
from core.training.task import OptimizerFactory, ScheduleFactory, Task, factory_class


class SuperResolutionTask(Task):
    """Trains a restoration network on pairs of small and large images in [0, 1].

    Validation is the classical protocol: PSNR on luma, `scale` pixels cut from every edge.

    Args:
        network: builds the network from the scale.
        criterion: loss of (result, original).
        optimizer: makes the optimiser.
        schedule: makes the learning-rate schedule.
        weights: file of a release to start from.
        memory_mb: what evaluation and prediction may take for one image; larger images are done in tiles.
        self_ensemble: evaluate and predict with the mean over the eight flips and turns.
        lpips: evaluate the perceptual distance too.
    """

    monitor = "val_psnr"
    mode = "max"

    def __init__(
        self,
        network: Callable[[int], nn.Module],
        criterion: nn.Module | None = None,
        optimizer: OptimizerFactory = torch.optim.Adam,
        schedule: ScheduleFactory | None = None,
        weights: str | None = None,
        memory_mb: int = 4000,
        self_ensemble: bool = False,
        lpips: bool = False,
    ):
        super().__init__(optimizer, schedule)
        self.network, self.weights = network, weights
        self.memory_mb, self.self_ensemble, self.lpips = memory_mb, self_ensemble, lpips
        self.criterion = criterion or nn.L1Loss()
        self.net: nn.Module | None = None
        self.metrics = nn.ModuleDict({name: MeanMetric() for name in ("train_loss", "val_psnr", "test_psnr")})
        # In the checkpoint, so that the mean of an epoch that was interrupted is that of the whole epoch.
        self.metrics["train_loss"].persistent(True)

    @property
    def label(self) -> str:
        """The network's name: its class, or the function that makes a published variant."""
        name = getattr(self.network, "__name__", "")
        return name if name and name != "<lambda>" else factory_class(self.network).__name__

    def setup(self, stage: str) -> None:
        if self.trainer.datamodule is not None:
            self.prepare(self.trainer.datamodule.scale)

    def prepare(self, scale: int) -> None:
        """Builds the network, once.

        Raises:
            UserError: the network was trained for another scale or cannot be built for this one.
        """
        if self.net is not None:
            return
        trained = self.facts.get("scale")
        if trained not in (None, scale):
            raise UserError(f"--data.scale {scale}: the checkpoint enlarges by {trained}; use --data.scale {trained}.")
        try:
            self.net = self.network(scale)
        except ValueError as error:
            raise UserError(f"--model.network: {error}.") from None
        if self.weights is not None and trained is None:
            from apps.vision.superres.models.checkpoints import load_release

            load_release(self.net, self.weights)
        self.facts = {"scale": scale}

    def forward(self, lr: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, scale H, scale W), not clamped."""
        assert self.net is not None
        return self.net(lr)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = self.criterion(self(batch["lr"]), batch["hr"])
        self.metrics["train_loss"].update(loss.detach(), weight=len(batch["lr"]))
        self.log("train_loss", self.metrics["train_loss"], on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self._score(batch, "val_psnr")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self._score(batch, "test_psnr")

    def _score(self, batch: dict[str, Any], name: str) -> None:
        result, original = to_y(to_uint8(self(batch["lr"])[0])), to_y(to_uint8(batch["hr"][0]))
        value = psnr(result, original[: result.shape[0], : result.shape[1]], border=self.facts["scale"])
        self.metrics[name].update(value, weight=1)
        self.log(name, self.metrics[name], on_epoch=True, prog_bar=True, batch_size=1)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        assert self.net is not None
        run = Ensemble(self.net) if self.self_ensemble else self.net
        result = enlarge(
            run, batch["lr"], self.facts["scale"], memory_mb=self.memory_mb, progress=batch.get("progress")
        )
        return {"index": batch["index"], "result": result.cpu()}
