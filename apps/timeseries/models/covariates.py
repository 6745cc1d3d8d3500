"""Covariates as the networks read them: cut to length, checked, normalised by the window; a linear way past a
network; static attributes.

Shapes as in `apps.timeseries.models`.  A covariate may come with a longer look-back than the network's own (`Lc`
against L): its newest steps are read.
"""

__all__ = ["LinearSkip", "StaticEmbedding", "cut", "normalized"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from apps.timeseries.models.normalize import window_statistics

# A covariate that is constant in a window and moves in the horizon (a holiday flag) must not be blown up by a
# standard deviation of nothing.  Inputs are standardised over the training set, so 0.1 is a tenth of their spread.
SMALLEST_SPREAD = 0.1


def cut(name: str, value: Tensor | None, width: int, steps: int) -> Tensor | None:
    """The newest `steps` steps of a covariate `(B, T, width)`; None where the network was built without it.

    Raises:
        ValueError: given but not built for, built for but not given, other width, too short.
    """
    if value is None:
        if width:
            raise ValueError(f"{name} is missing: the network was built with {width} of them")
        return None
    if value.shape[-1] != width:
        raise ValueError(f"{name} has {value.shape[-1]} columns, the network was built with {width}")
    if value.shape[1] < steps:
        raise ValueError(f"{name} has {value.shape[1]} steps, the network reads {steps}")
    return value[:, -steps:]


def normalized(x: Tensor, steps: int) -> Tensor:
    """`x (B, T, C)` by the mean and spread of its first `steps` steps, so that a horizon is seen from its past."""
    loc, scale = window_statistics(x[:, :steps])
    return (x - loc) / scale.clamp(min=SMALLEST_SPREAD)


class LinearSkip(nn.Module):
    """A Linear from all normalised inputs to the forecast, started at zero and added to what a network says.

    Much of a price is linear in tomorrow's load, which a deep network has to learn through its bottlenecks.  Of the
    calendar the horizon alone is read.

    Args:
        context_length: look-back L.
        prediction_length: horizon H.
        past: covariates known up to now.
        known: covariates known for the horizon.
        calendar: calendar series.
        size: raw numbers per step A.
    """

    def __init__(self, context_length: int, prediction_length: int, past: int, known: int, calendar: int, size: int):
        super().__init__()
        self.prediction_length, self.size = prediction_length, size
        own = context_length * (1 + past + known)
        self.linear = nn.Linear(own + prediction_length * (known + calendar), prediction_length * size)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, past: Tensor | None, known: Tensor | None, calendar: Tensor | None) -> Tensor:
        """x `(B, L, K)`, past `(B, L, P)`, known and calendar `(B, L + H, ...)` to raw `(B, H, K, A)`."""
        calendar = None if calendar is None else calendar[:, -self.prediction_length :]
        shared = [z.flatten(1) for z in (past, known, calendar) if z is not None]
        x = x.transpose(1, 2)
        if shared:
            x = torch.cat([x, torch.cat(shared, 1).unsqueeze(1).expand(-1, x.shape[1], -1)], 2)
        return self.linear(x).unflatten(2, (self.prediction_length, self.size)).transpose(1, 2)


class StaticEmbedding(nn.Module):
    """All static attributes of a series as one vector: a Linear of the numbers plus one row a category.

    Args:
        num_feat_static_real: numbers S.
        cardinality: categories of each of the Q attributes; the row after the last is for unseen ones.
        dim: width of the vector.
    """

    def __init__(self, num_feat_static_real: int, cardinality: Sequence[int], dim: int):
        super().__init__()
        self.real = nn.Linear(num_feat_static_real, dim) if num_feat_static_real else None
        self.cat = nn.ModuleList(nn.Embedding(count + 1, dim) for count in cardinality)

    def forward(self, real: Tensor | None, cat: Tensor | None) -> Tensor:
        """real `(B, S)`, cat `(B, Q)` integers to `(B, dim)`.

        Raises:
            ValueError: what the network was built with is missing, or the other way round.
        """
        parts = []
        if (real is not None) != (self.real is not None) or (cat is not None) != bool(self.cat):
            raise ValueError(
                f"the network was built with {self.real.in_features if self.real else 0} static numbers and "
                f"{len(self.cat)} static categories; give exactly these"
            )
        if self.real is not None:
            parts.append(self.real(real))
        # Codes beyond the vocabulary share the last row.
        parts += [table(cat[:, n].clamp(0, table.num_embeddings - 1)) for n, table in enumerate(self.cat)]
        return torch.stack(parts).sum(0)
