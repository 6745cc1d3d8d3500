"""Node classification as a Lightning task: any network of `apps.graph.models` on any `GraphData`."""

__all__ = ["NodeTask", "Predicted", "loss_of", "together"]

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric

from apps.graph.data.items import Batch
from apps.graph.models import NodeClassifier
from core.errors import UserError
from core.mixers import auxiliary_loss
from core.training.gather import gathered
from core.training.task import OptimizerFactory, ScheduleFactory, Task, factory_class


class Predicted(NamedTuple):
    """What is known of some nodes after the network has seen them, on the host.

    Attributes:
        nodes: (n,) ids.
        scores: (n, classes).
        labels: (n,) or (n, tasks), -1 or NaN where unknown.
        embeddings: (n, width), what enters the last layer.
    """

    nodes: Tensor
    scores: Tensor
    labels: Tensor
    embeddings: Tensor


def loss_of(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of classes (n,), or the mean binary one of tasks (n, T); unknown labels do not count.

    Without any known label it is 0, so that a batch of nodes nobody knows leaves the weights alone.
    """
    known = labels >= 0
    if labels.dim() == 1:
        return F.cross_entropy(scores, labels.long(), ignore_index=-1, reduction="sum") / known.sum().clamp(min=1)
    each = F.binary_cross_entropy_with_logits(scores, labels.nan_to_num(), reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


def together(own: Sequence[Tensor]) -> list[Tensor]:
    """Rows of all processes, the first of `own` being ids, each node once; those of this process where it is alone."""
    if not torch.distributed.is_initialized():
        return list(own)
    every = gathered({torch.distributed.get_rank(): list(own)})
    rows = [torch.cat([every[rank][k] for rank in sorted(every)]) for k in range(len(own))]
    ids, place = rows[0].unique(return_inverse=True)
    # Processes share the last batches, and see whole graphs alike.
    first = torch.full((len(ids),), len(place)).scatter_reduce(0, place, torch.arange(len(place)), "amin")
    return [row[first] for row in rows]


class NodeTask(Task):
    """Trains a network to classify nodes.

    Validation is the metric of the data: accuracy, or area under the ROC curve for sets of two classes.

    Args:
        network: builds the network; width of the features and number of classes are added.
        optimizer: makes the optimiser.
        schedule: makes the learning-rate schedule.
        by_loss: the best epoch is that of the least validation loss, which moves more evenly than a share of few nodes.
    """

    monitor = "val_score"
    mode = "max"

    def __init__(
        self,
        network: Callable[[int, int], NodeClassifier],
        optimizer: OptimizerFactory = torch.optim.Adam,
        schedule: ScheduleFactory | None = None,
        by_loss: bool = False,
    ):
        super().__init__(optimizer, schedule)
        if by_loss:
            self.monitor, self.mode = "val_loss", "min"
        self.network = network
        self.net: NodeClassifier | None = None
        self.mean_loss = MeanMetric()
        # In the checkpoint, so that the mean of an epoch that was interrupted is that of the whole epoch.
        self.mean_loss.persistent(True)
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []
        self._metric: Callable[[Tensor, Tensor], float] | None = None

    @property
    def label(self) -> str:
        """The network's class."""
        return factory_class(self.network).__name__

    def setup(self, stage: str) -> None:
        data = self.trainer.datamodule
        if data is not None:
            self._metric = data.nodes.metric
            self.prepare(data.channels, data.classes)

    def prepare(self, channels: int, classes: Sequence[str]) -> None:
        """Builds the network, once.

        Raises:
            UserError: the checkpoint was trained on features of another width or other classes.
        """
        if self.net is not None:
            return
        given = {"channels": channels, "classes": list(classes)}
        for fact, value in given.items():
            trained = self.facts.get(fact)
            if trained not in (None, value):
                raise UserError(f"--data: {fact} {value}; the checkpoint was trained with {trained}, take such data.")
        try:
            self.net = self.network(channels, len(classes))
        except ValueError as error:
            raise UserError(f"--model.network: {error}.") from None
        self.facts = {**self.facts, **given}
        self.net.stage = self.facts.get("stage", 0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.net is not None:
            self.facts = {**self.facts, "stage": self.net.stage}
        super().on_save_checkpoint(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.net is not None:
            self.net.stage = self.facts.get("stage", 0)

    def forward(self, batch: Batch) -> Tensor:
        """(S, classes) of the nodes that the batch is about."""
        assert self.net is not None
        return self.net.classify(batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = loss_of(self(batch), batch.y)
        self.mean_loss.update(loss.detach(), weight=len(batch.y))
        self.log("train_loss", self.mean_loss, on_step=False, on_epoch=True, prog_bar=True)
        assert self.net is not None
        return loss + auxiliary_loss(self.net).to(loss.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._seen.append((batch.nodes[batch.targets], self(batch), batch.y))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._seen.append((batch.nodes[batch.targets], self(batch), batch.y))

    def on_validation_epoch_end(self) -> None:
        self._score("val_score")

    def on_test_epoch_end(self) -> None:
        self._score("test_score")

    def _score(self, name: str) -> None:
        seen, self._seen = self._seen, []
        _, scores, labels = together([torch.cat(part).cpu() for part in zip(*seen, strict=True)])
        assert self._metric is not None
        self.log(name, torch.tensor(self._metric(scores.float(), labels)), prog_bar=True)
        self.log(name.replace("score", "loss"), loss_of(scores.float(), labels))

    def predict_step(self, batch: Batch, batch_idx: int) -> Predicted:
        """What the network says of the nodes that the batch is about."""
        assert self.net is not None
        entered: list[Tensor] = []
        hooks = [
            head.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0])) for head in self.net.heads()
        ]
        scores = self(batch)
        for hook in hooks:
            hook.remove()
        inside = entered[-1] if entered else scores
        # A network that sees the whole graph embeds all its nodes.
        inside = inside if len(inside) == len(scores) else inside[batch.targets]
        own = batch.nodes[batch.targets]
        return Predicted(*(t.detach().cpu() for t in (own, scores.float(), batch.y, inside.float())))
