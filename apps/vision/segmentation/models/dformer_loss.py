"""What volumes are learned with: Dice loss plus cross entropy. On the result and on what coarser heads give:

    DeepSupervision(DiceCrossEntropy(), (0.5, 0.25))(network(volume), {"labels": labels})

Shapes: logits (B, K, *grid), labels (B, *grid), for volumes as for maps.
"""

__all__ = ["DiceCrossEntropy"]

from torch import Tensor, nn

from apps.vision.segmentation.losses import CrossEntropy, Dice


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
