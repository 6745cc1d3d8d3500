"""What volumes are learned with: Dice loss plus cross entropy, on the result and on what coarser heads give.

Shapes: logits (B, K, *grid), labels (B, *grid), for volumes as for maps.
"""

__all__ = ["DiceCrossEntropy", "VolumeLoss"]

from collections.abc import Sequence

from torch import Tensor, nn

from apps.vision.segmentation.losses import CrossEntropy, Dice
from apps.vision.segmentation.models.segmenter import Logits


class DiceCrossEntropy(nn.Module):
    """Dice loss plus cross entropy, of volumes or maps.

    Args:
        ignore: label of voxels that do not count.
        dice: weight of the Dice loss.
    """

    def __init__(self, ignore: int = 255, dice: float = 1.0) -> None:
        super().__init__()
        self.dice, self.dice_loss, self.entropy = dice, Dice(ignore), CrossEntropy(ignore)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, K, *grid) and labels (B, *grid) of the same grid -> a number.

        Raises:
            ValueError: where the grids differ.
        """
        if logits.shape[2:] != labels.shape[1:] or len(logits) != len(labels):
            raise ValueError(
                f"DiceCrossEntropy: expected logits (B, K, *grid) and labels (B, *grid), got {tuple(logits.shape)} and "
                f"{tuple(labels.shape)}."
            )
        # Both are sums over voxels, whatever these are arranged in.
        flat, known = logits.flatten(2)[..., None], labels.flatten(1)[..., None]
        return self.entropy(flat, known) + self.dice * self.dice_loss(flat, known)


class VolumeLoss(nn.Module):
    """`loss(main) + sum weights_i loss(others_i)` (deep supervision).

    Args:
        weights: of the coarser heads, fine to coarse; as many as there are.
        loss: of one head; `DiceCrossEntropy` by default.
    """

    def __init__(self, weights: Sequence[float] = (0.5, 0.25), loss: nn.Module | None = None) -> None:
        super().__init__()
        self.weights, self.loss = tuple(weights), DiceCrossEntropy() if loss is None else loss

    def forward(self, made: Logits, labels: Tensor) -> Tensor:
        """Without `others`, as in evaluation, the loss of the result alone.

        Raises:
            ValueError: where the heads are not as many as the weights.
        """
        if made.others and len(made.others) != len(self.weights):
            raise ValueError(f"VolumeLoss: {len(made.others)} coarser heads and {len(self.weights)} weights.")
        total = self.loss(made.main, labels)
        for weight, other in zip(self.weights, made.others, strict=False):
            total = total + weight * self.loss(other, labels)
        return total
