"""What the task asks of a network: the prediction of the nodes that a batch is about."""

__all__ = ["NodeClassifier"]

from torch import Tensor, nn

from apps.graph.data.items import Batch


class NodeClassifier(nn.Module):
    """Base class: a network of tensors with a way to take these from a batch.

    `forward` takes tensors and relations, as a user without data module has them; `classify` is what a task calls.

    Attributes:
        stage: of a network that is trained in stages; 0 at the start (`apps.graph.stages`).
    """

    stage = 0

    def classify(self, batch: Batch) -> Tensor:
        """(S, classes) of `batch.targets`."""
        raise TypeError(f"{type(self).__name__} must define classify")

    def heads(self) -> list[nn.Module]:
        """Modules one of which makes the prediction; what enters it is the node's embedding."""
        return [self.out] if isinstance(getattr(self, "out", None), nn.Module) else []
