"""Forecasting networks: tensors in, tensors out, no Lightning.

All take what they can use of one set of inputs (time before channel, gluonts names); what a network cannot use is
absent from its constructor and its `forward`:

    past_target (B, L, K)                    the look-back of the targets
    past_observed_values (B, L, K) bool      False where a value is missing
    past_feat_dynamic_real (B, Lc, P)        covariates known up to now
    feat_dynamic_real (B, Lc + H, F)         covariates known for the horizon too
    time_feat (B, Lc + H, M)                 calendar of the same steps
    feat_static_real (B, S), feat_static_cat (B, Q)

and give `(B, H, K)` for a point head, `(B, H, K, A)` for others (`apps.timeseries.heads`).
"""

__all__ = ["DLinear", "Gateformer", "ITransformer", "PatchTSMixer", "PatchTST", "TimeXer"]

from apps.timeseries.models.dlinear import DLinear
from apps.timeseries.models.gateformer import Gateformer
from apps.timeseries.models.itransformer import ITransformer
from apps.timeseries.models.patchtsmixer import PatchTSMixer
from apps.timeseries.models.patchtst import PatchTST
from apps.timeseries.models.timexer import TimeXer
