"""A codebook learnt by moving averages (van den Oord et al. 2017, appendix; LargeGT and GOAT use it), in the units of a
running normalisation:

    z = (x - mean) / sqrt(variance + eps) of the batch;  m(z) = nearest code
    size_m <- a size_m + (1 - a) |z in m|;  sums_m <- a sums_m + (1 - a) sum of z in m;  code_m = sums_m / size_m
    output_m = code_m sqrt(running variance + eps) + running mean

Shapes: x (n, D), codes (M, D).  Under torch.distributed every sum runs over all processes, which therefore keep the
same codes, those that one process with all the rows would have.

Decided differently from the release (`official` brings its behaviour back).  It starts from random codes of size 0 and
sums that do not belong to them, so that the first division is by 1e-5: for hundreds of steps one code gets all rows.
It also stores a smoothed size, which no longer belongs to the sums.  Here codes are rows of the first batches, sizes
are what they say, and a code that falls below a twentieth of the mean size starts again at the row that is described
worst.  A code of size 0 does not exist yet: nothing is assigned to it.
"""

__all__ = ["EMACodebook"]

import torch
import torch.distributed as dist
from torch import Tensor, nn

EPS = 1e-5
MOMENTUM = 0.1
DEAD = 0.05


class EMACodebook(nn.Module):
    """Codes in buffers; `forward` assigns rows and, in training, learns from them.

    Args:
        dim: width of a code, D.
        codes: number of them, M.
        decay: share of the old in each average.
        official: start and smoothing of the release.

    Attributes:
        output: (M, D) codes in the units of x.
        size: (M,) moving average of the rows a step that each code gets; 0 where it does not exist yet.
    """

    embedding: Tensor
    output: Tensor
    size: Tensor
    sums: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, dim: int, codes: int, decay: float = 0.99, *, official: bool = False) -> None:
        super().__init__()
        self.decay, self.official = decay, official
        for name in ("embedding", "output", "sums"):
            start = torch.randn(codes, dim) if official else torch.zeros(codes, dim)
            self.register_buffer(name, start)
        self.register_buffer("size", torch.zeros(codes))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(n,) int64 code of each row (n, D); no gradient."""
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            x = x.detach().to(self.embedding.dtype)
            if not self.training:
                return self._nearest((x - self.mean) * (self.variance + EPS).rsqrt())[0]
            z = self._normalised(x)
            if not self.official:
                self._bear(z)
            index = self._nearest(z)[0]
            self._average(z, index)
            self.output.copy_(self.embedding * (self.variance + EPS).sqrt() + self.mean)
            return index

    def _normalised(self, x: Tensor) -> Tensor:
        """By the statistics of all rows of all processes, which the running ones follow."""
        count, total = _summed(x.new_tensor([len(x)]), x.sum(0))
        if count < 2:
            return (x - self.mean) * (self.variance + EPS).rsqrt()
        mean = total / count
        (squares,) = _summed((x - mean).square().sum(0))
        self.mean.lerp_(mean, MOMENTUM)
        self.variance.lerp_(squares / (count - 1), MOMENTUM)
        return (x - mean) * (squares / count + EPS).rsqrt()

    def _nearest(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Code of each row, and its squared distance; codes that do not exist are infinitely far."""
        lengths = self.embedding.square().sum(1)
        if not self.official:
            lengths = lengths.masked_fill(self.size == 0, torch.inf)
        distance, index = torch.addmm(lengths, z, self.embedding.mT, alpha=-2).min(1)
        return index, distance + z.square().sum(1)

    def _bear(self, z: Tensor) -> None:
        """New codes in the places of those that are not or hardly used: the rows described worst."""
        alive = self.size > 0
        mean = self.size.sum() / alive.sum().clamp(min=1)
        places = (self.size <= DEAD * mean).nonzero()[:, 0]
        if not len(places):
            return
        rows, total = _worst(z, self._nearest(z)[1], len(places))
        places = places[: len(rows)]
        self.embedding[places] = rows
        self.size[places] = total / len(self.size)
        self.sums[places] = rows * (total / len(self.size))

    def _average(self, z: Tensor, index: Tensor) -> None:
        counts = torch.bincount(index, minlength=len(self.size)).to(z.dtype)
        counts, sums = _summed(counts, torch.zeros_like(self.sums).index_add_(0, index, z))
        self.size.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        if self.official:
            total = self.size.sum()
            self.size.add_(EPS).mul_(total / (total + len(self.size) * EPS))
        used = self.size > 0
        self.embedding.copy_(torch.where(used[:, None], self.sums / self.size.where(used, 1)[:, None], self.embedding))


def _summed(*tensors: Tensor) -> list[Tensor]:
    """Each over all processes."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return list(tensors)
    flat = torch.cat([t.flatten() for t in tensors])
    dist.all_reduce(flat)
    return [part.view_as(t) for part, t in zip(flat.split([t.numel() for t in tensors]), tensors, strict=True)]


def _worst(z: Tensor, errors: Tensor, count: int) -> tuple[Tensor, float]:
    """At most `count` rows of all processes with the largest errors, and how many rows there are in all."""
    total = float(len(z))
    errors, order = errors.sort(descending=True, stable=True)
    rows, errors = z[order[:count]], errors[:count]
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        own = torch.full((count, z.shape[1] + 1), -1.0, dtype=z.dtype, device=z.device)
        # Infinite ones, where there are no codes yet, keep their rank behind real ones.
        own[: len(rows)] = torch.cat([rows, errors.clamp(max=torch.finfo(z.dtype).max)[:, None]], 1)
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, own)
        every = torch.cat(parts)
        every = every[every[:, -1] >= 0]
        every = every[every[:, -1].argsort(descending=True, stable=True)][:count]
        rows, errors = every[:, :-1], every[:, -1]
        total = _summed(z.new_tensor([total]))[0].item()
    # Rows that a code describes already need none of their own.
    return rows[errors > 1e-12], total
