"""What several backbones are made of: a downsampling with its norm in front, norms, the releases' first weights."""

__all__ = ["Chain", "Down", "init_normal", "layer_norm", "no_norm"]

from collections.abc import Sequence

from torch import Tensor, nn

from core.resample import Resampled


class Chain(nn.Module):
    """Changes of token count one after the other; only the last one's way back is kept.

    Args:
        steps: modules of `core.resample`.
    """

    def __init__(self, steps: Sequence[nn.Module]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Resampled:
        """x (B, H, W, C), mask (B, H, W)."""
        for step in self.steps:
            resampled = step(x, mask)
            x, mask, _ = resampled
        return resampled


class Down(nn.Module):
    """embed(norm(x)), and what a release without padding does with sizes that do not divide.

    Args:
        embed: a module of `core.resample`.
        norm: of the fine tokens.
        floor: leave the last rows and columns out where they do not fill a patch of this size; 0 = keep all.
    """

    def __init__(self, embed: nn.Module, norm: nn.Module | None = None, *, floor: int = 0) -> None:
        super().__init__()
        self.norm = norm
        self.embed = embed
        self.floor = floor

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Resampled:
        """x (B, H, W, C), mask (B, H, W)."""
        if self.floor:
            height, width = (size // self.floor * self.floor for size in x.shape[1:3])
            x, mask = x[:, :height, :width], None if mask is None else mask[:, :height, :width]
        return self.embed(x if self.norm is None else self.norm(x), mask)


def layer_norm(dim: int) -> nn.Module:
    """LayerNorm with the eps of most releases."""
    return nn.LayerNorm(dim, eps=1e-6)


def no_norm(dim: int) -> nn.Module:
    """For branches whose norm stands elsewhere."""
    return nn.Identity()


def init_normal(network: nn.Module, *, convolutions: bool = True) -> None:
    """Linear layers, and convolutions where asked for: normal with deviation 0.02 cut at 2, biases 0."""
    for part in network.modules():
        if isinstance(part, nn.Linear) or (convolutions and isinstance(part, nn.Conv2d)):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
