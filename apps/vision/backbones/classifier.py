"""Image classification over a backbone, as the releases train and publish it on ImageNet: `Classifier(swin_tiny())`."""

__all__ = ["Classifier", "PoolHead"]

from torch import Tensor, nn

from apps.vision.backbones.base import Backbone


class Classifier(nn.Module):
    """Logits of an image.

    Args:
        backbone: makes the feature maps, and knows its release's head.
        classes: number of classes.
    """

    def __init__(self, backbone: Backbone, classes: int = 1000) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = backbone.head(classes)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) -> (B, classes)."""
        return self.head(self.backbone(x)[-1])


class PoolHead(nn.Module):
    """linear(norm(x)), averaged over the map before or after the norm.

    Args:
        dim: width of the last feature map.
        classes: number of classes.
        norm_tokens: of every token, before the mean.
        norm_pooled: of the mean.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        norm_tokens: nn.Module | None = None,
        norm_pooled: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.norm_tokens = norm_tokens
        self.norm_pooled = norm_pooled
        self.linear = nn.Linear(dim, classes)
        nn.init.trunc_normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, h, w, dim) -> (B, classes)."""
        x = (x if self.norm_tokens is None else self.norm_tokens(x)).mean((1, 2))
        return self.linear(x if self.norm_pooled is None else self.norm_pooled(x))
