"""Norms and blocks that sparse and bird's-eye-view backbones share; batch norms of eps 1e-3 and momentum 0.01.

Decided: a batch norm over rows needs two of them. In training with fewer (an empty sweep, one pillar) `RowNorm` takes
its running statistics and leaves them as they are, where torch stops with an error at one row and fills the statistics
with NaN at none. `torch.nn.SyncBatchNorm.convert_sync_batchnorm` replaces it by a class without this.
"""

__all__ = [
    "BasicBlock",
    "RowNorm",
    "SparseBasicBlock",
    "SparseConvNorm",
    "as_map",
    "as_tokens",
    "conv_norm",
    "initialise_maps",
    "like",
    "map_norm",
]

from torch import Tensor, nn
from torch.nn import functional as F

from core.sparse import SparseModule, SparseTensor, SubmanifoldConv

EPS, MOMENTUM = 1e-3, 0.01


class RowNorm(nn.BatchNorm1d):
    """Batch norm of rows (N, dim), with any number of rows in training too.

    Args:
        dim: channels.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=EPS, momentum=MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) < 2:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def map_norm(dim: int) -> nn.BatchNorm2d:
    """Batch norm of maps (B, dim, Y, X)."""
    return nn.BatchNorm2d(dim, eps=EPS, momentum=MOMENTUM)


def conv_norm(dim: int, out_dim: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution without bias, norm and ReLU of maps."""
    conv = nn.Conv2d(dim, out_dim, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, map_norm(out_dim), nn.ReLU())


class BasicBlock(nn.Module):
    """ReLU(norm(conv(ReLU(norm(conv x)))) + shortcut x) of maps, kernels 3 x 3 without bias.

    Args:
        dim, out_dim: channels in and out.
        stride: of the first convolution.
        project: the shortcut is a 1 x 1 convolution and a norm, instead of x itself.
    """

    def __init__(self, dim: int, out_dim: int, stride: int = 1, project: bool = False) -> None:
        super().__init__()
        self.first = conv_norm(dim, out_dim, stride)
        self.conv = nn.Conv2d(out_dim, out_dim, 3, padding=1, bias=False)
        self.norm = map_norm(out_dim)
        self.shortcut: nn.Module = nn.Identity()
        if project:
            self.shortcut = nn.Sequential(nn.Conv2d(dim, out_dim, 1, stride, bias=False), map_norm(out_dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(self.first(x))) + self.shortcut(x))


class SparseConvNorm(SparseModule):
    """A sparse convolution, norm and ReLU.

    Args:
        conv: the convolution; its `out_dim` is the norm's width.
    """

    def __init__(self, conv: SparseModule) -> None:
        super().__init__()
        self.conv = conv
        self.norm = RowNorm(int(conv.out_dim))  # type: ignore[arg-type]

    def forward(self, x: SparseTensor) -> SparseTensor:
        y = self.conv(x)
        return y.replace(F.relu(self.norm(y.features)))


class SparseBasicBlock(SparseModule):
    """ReLU(norm(conv(ReLU(norm(conv x)))) + x) at the same sites, submanifold kernels 3 x 3 x 3.

    Args:
        dim: channels.
        bias: the convolutions have one, as in the releases, though the norm behind takes it away.
    """

    def __init__(self, dim: int, bias: bool = True) -> None:
        super().__init__()
        self.convs = nn.ModuleList(SubmanifoldConv(dim, dim, 3, bias=bias) for _ in range(2))
        self.norms = nn.ModuleList(RowNorm(dim) for _ in range(2))

    def forward(self, x: SparseTensor) -> SparseTensor:
        y = self.convs[0](x)
        y = self.convs[1](y.replace(F.relu(self.norms[0](y.features))))
        return y.replace(F.relu(self.norms[1](y.features) + x.features))


def initialise_maps(module: nn.Module) -> None:
    """Kaiming normal for convolutions of maps over their outputs, as the residual backbones start."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def like(y: Tensor, x: Tensor) -> Tensor:
    """y (B, C, Y', X') cut to the extent of x, where up-sampling an odd map overshot by a line."""
    return y if y.shape[2:] == x.shape[2:] else y[:, :, : x.shape[2], : x.shape[3]]


def as_map(x: Tensor) -> Tensor:
    """Tokens (B, Y, X, C) as a map (B, C, Y, X), in channels-last memory."""
    return x.permute(0, 3, 1, 2)


def as_tokens(x: Tensor) -> Tensor:
    """A map (B, C, Y, X) as tokens (B, Y, X, C)."""
    return x.permute(0, 2, 3, 1)
