"""The distributions of transformers as gluonts outputs, for `apps.timeseries.heads.Distribution`.

They differ from gluonts' own in the map to positive numbers: squareplus(x) = (x + sqrt(x^2 + 4)) / 2 instead of
softplus.  Student's t has df = 2 + squareplus, scale = squareplus; the normal scale = squareplus; the negative
binomial total_count = squareplus and logits as they are, which a scale s shifts by log s.

Decided differently: the shift makes new numbers.  In transformers, as in gluonts, it is written into the parameters,
so that whoever asks twice shifts twice (a mean of 612 instead of 24.6 from `generate`).
"""

__all__ = ["SquareplusNegativeBinomial", "SquareplusNormal", "SquareplusStudentT"]

import torch
from gluonts.torch.distributions import NegativeBinomialOutput, NormalOutput, StudentTOutput
from torch import Tensor
from torch.distributions import Distribution


def squareplus(x: Tensor) -> Tensor:
    """(x + sqrt(x^2 + 4)) / 2: positive, 1 at 0, like softplus far out."""
    return (x + (x.square() + 4).sqrt()) / 2


def positive(x: Tensor) -> Tensor:
    return squareplus(x).clamp(min=torch.finfo(x.dtype).eps)


class SquareplusStudentT(StudentTOutput):
    """Student's t with more than two degrees of freedom."""

    @classmethod
    def domain_map(cls, df: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        return 2 + squareplus(df).squeeze(-1), loc.squeeze(-1), positive(scale).squeeze(-1)


class SquareplusNormal(NormalOutput):
    """Normal."""

    @classmethod
    def domain_map(cls, loc: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        return loc.squeeze(-1), positive(scale).squeeze(-1)


class SquareplusNegativeBinomial(NegativeBinomialOutput):
    """Negative binomial, for counts; loc has no meaning."""

    @classmethod
    def domain_map(cls, total_count: Tensor, logits: Tensor) -> tuple[Tensor, ...]:
        return squareplus(total_count).squeeze(-1), logits.squeeze(-1)

    def distribution(self, distr_args, loc: Tensor | None = None, scale: Tensor | None = None) -> Distribution:
        total_count, logits = distr_args
        return super().distribution((total_count, logits if scale is None else logits + scale.log()))
