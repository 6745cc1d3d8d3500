"""Parts of DRSformer (Chen et al. 2023): mixed-scale feed-forward, mixture of experts, a norm without a mean.

Decided: convolutions in groups of two channels are depthwise ones whose neighbouring results are added, two to four
times faster; the last 1 x 1 convolution of each expert is multiplied into the one that gathers all experts, which
leaves half of the products. Both are exact but for rounding, and gradients follow.
"""

__all__ = ["BiasFreeNorm", "ExpertStep", "Experts", "MixedScaleMLP", "PairConv"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.mixers.convolution import DepthwiseConv
from core.ops.depthwise import depthwise

_SEPARABLE = (1, 3, 5, 7)
_DILATED = (3, 5, 7)
_EXPERTS = len(_SEPARABLE) + len(_DILATED) + 1


class BiasFreeNorm(nn.Module):
    """weight * x / sqrt(var(x) + eps) over the last axis: the variance is that around the mean, which stays in x.

    Args:
        dim: width of the last axis.
        eps: added to the variance.
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.var(-1, keepdim=True, correction=0) + self.eps) * self.weight


class PairConv(nn.Module):
    """Convolution of neighbouring pairs of channels: (B, H, W, 2 dim) -> (B, H, W, dim).

    Args:
        dim: width of the output.
        kernel: odd size of the kernel.
        bias: whether there is one.
    """

    def __init__(self, dim: int, kernel: int, *, bias: bool = False) -> None:
        super().__init__()
        own = nn.Conv2d(2 * dim, dim, kernel, groups=dim, bias=bias)  # drawn as torch draws it
        self.weight, self.bias = own.weight, own.bias

    def forward(self, x: Tensor) -> Tensor:
        y = depthwise(x, self.weight.flatten(0, 1).unsqueeze(1))
        y = y[..., ::2] + y[..., 1::2]
        return y if self.bias is None else y + self.bias


class MixedScaleMLP(nn.Module):
    """Feed-forward with kernels of 3 and 5, whose halves cross over (the release's MSFN); (B, H, W, dim) -> the same.

    p = W_1 x;  p_k = ReLU(depthwise k x k of p);  u = ReLU(pairs 3 x 3 of the first halves [p_3, p_5]),
    w = ReLU(pairs 5 x 5 of their second halves);  y = W_2 [u, w]

    Args:
        dim: width of the tokens.
        hidden: width of u and of w.
        bias: whether the layers have one.
    """

    def __init__(self, dim: int, hidden: int, *, bias: bool = False) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, 2 * hidden, bias=bias)
        self.near = DepthwiseConv(2 * hidden, (3, 3), bias=bias)
        self.wide = DepthwiseConv(2 * hidden, (5, 5), bias=bias)
        self.near_pairs = PairConv(hidden, 3, bias=bias)
        self.wide_pairs = PairConv(hidden, 5, bias=bias)
        self.leave = nn.Linear(2 * hidden, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        p = self.enter(x)
        near, wide = F.relu(self.near(p)).chunk(2, -1), F.relu(self.wide(p)).chunk(2, -1)
        u = self.near_pairs(torch.cat([near[0], wide[0]], -1))
        w = self.wide_pairs(torch.cat([near[1], wide[1]], -1))
        return self.leave(F.relu(torch.cat([u, w], -1)))


class ExpertStep(nn.Module):
    """s -> ReLU(W concat_j g_j f_j(s)): eight experts weighed a sample and gathered.

    The experts: separable convolutions of 1, 3, 5, 7 (depthwise, W, ReLU, depthwise, W), dilated ones of 3, 5, 7
    (depthwise, W), a mean of 3 x 3 that counts what lies inside the map.

    Args:
        dim: width of the tokens (B, H, W, dim).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = nn.ModuleList(DepthwiseConv(dim, (k, k), bias=False) for k in _SEPARABLE)
        self.between = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in _SEPARABLE)
        self.second = nn.ModuleList(DepthwiseConv(dim, (k, k), bias=False) for k in _SEPARABLE)
        self.dilated = nn.ModuleList(nn.Conv2d(dim, dim, k, groups=dim, bias=False) for k in _DILATED)
        # The last product of each expert but the mean, and of all together.
        self.last = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(_EXPERTS - 1))
        self.gather = nn.Linear(_EXPERTS * dim, dim, bias=False)

    def forward(self, s: Tensor, gates: Tensor) -> Tensor:
        """s (B, H, W, dim), gates (B, 8) -> (B, H, W, dim)."""
        image = s.movedim(-1, 1)
        found = [
            second(F.relu(between(first(s))))
            for first, between, second in zip(self.first, self.between, self.second, strict=True)
        ]
        for layer in self.dilated:
            padding, channels = layer.kernel_size[0] - 1, layer.groups
            found.append(F.conv2d(image, layer.weight, None, 1, padding, 2, channels).movedim(1, -1))
        found.append(F.avg_pool2d(image, 3, 1, 1, count_include_pad=False).movedim(1, -1))
        parts = self.gather.weight.chunk(_EXPERTS, 1)
        merged = [part @ last.weight for part, last in zip(parts, self.last, strict=False)] + [parts[-1]]
        # One product a sample: its gates are factors of the columns.
        weight = torch.stack(merged, 1) * gates[:, None, :, None]
        y = torch.cat(found, -1).flatten(1, 2) @ weight.flatten(2).mT
        return F.relu(y).view_as(s)


class Experts(nn.Module):
    """Mixture of experts that are weighed by the whole map (the release's MEFC); (B, H, W, dim) -> the same.

    s = ReLU(W x), then `steps` times s = ReLU(step(s) + s); gates = softmax over experts of an MLP of the mean of x,
    other ones for each step; all of it `depth` times.

    Args:
        dim: width of the tokens.
        depth: how often.
        steps: steps each time.
    """

    def __init__(self, dim: int, *, depth: int = 1, steps: int = 4) -> None:
        super().__init__()
        self.steps = steps
        outputs = steps * _EXPERTS
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 2 * outputs), nn.ReLU(), nn.Linear(2 * outputs, outputs)) for _ in range(depth)
        )
        self.enter = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(depth))
        self.layers = nn.ModuleList(nn.ModuleList(ExpertStep(dim) for _ in range(steps)) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for gate, enter, steps in zip(self.gates, self.enter, self.layers, strict=True):
            gates = gate(x.mean((1, 2))).unflatten(-1, (self.steps, _EXPERTS)).softmax(-1)
            x = F.relu(enter(x))
            for number, step in enumerate(steps):
                x = F.relu(step(x, gates[:, number]) + x)
        return x
