"""SI-SDR, SDR and their improvements as separation papers report them, in float64.

With the means of estimate e and reference t removed (Le Roux et al. 2019; papers call the same number SI-SNR),

    SI-SDR = 10 log10(|a t|^2 / |e - a t|^2),    a = <e, t> / <t, t>

SDR allows any filter of 512 taps instead of the factor a (BSS eval version 3; torchmetrics' form in float64 agrees with
mir_eval to 1e-6 dB). Improvements (SI-SDRi, SDRi) subtract what the unprocessed mixture scores against the same
reference. Of a file: the permutation with the best mean SI-SDR, then the mean over the speakers; of a set: the mean
over files.

torchmetrics' SI-SDR leaves the means in unless told otherwise (0.12 dB on speech), and gives about -108 dB for a silent
reference. Here a reference whose energy is 60 dB below the mixture's counts as silent: it has no value, its file is
told apart by `Row.silent` and is in no average. Nor is a file whose mixture is the reference already to 60 dB (two
times the same voice): its improvement has no bound. A silent ESTIMATE scores 0 dB, so that silence is no way out; equal
signals score what float64 can tell, about 157 dB, not infinity.

Estimates and references are (S, T); a permutation (..., S) says, as in torchmetrics, which estimate belongs to
reference j.
"""

__all__ = [
    "Row",
    "average",
    "best_permutation",
    "permuted",
    "pesq",
    "score",
    "sdr",
    "si_sdr",
    "si_snr",
    "silent_references",
    "stoi",
]

import importlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchmetrics.functional.audio import signal_distortion_ratio

from core.errors import UserError

SILENT_DB = -60.0
ALIKE_DB = 60.0
ALL_PERMUTATIONS = 4
"""Up to so many speakers all permutations are tried; beyond, the assignment is solved on the host."""


@dataclass(frozen=True)
class Row:
    """One file; dB, means over its speakers that are not silent, NaN if all are.

    Args:
        name: of the file.
        frames: its length in samples.
        permutation: which estimate belongs to reference j.
        silent: references without a value.
        mix_si_sdr, mix_sdr: of the unprocessed mixture.
        pesq, stoi: NaN if not asked for, or if there is no speech to score.
    """

    name: str
    frames: int
    permutation: tuple[int, ...]
    silent: tuple[int, ...]
    mix_si_sdr: float
    si_sdr: float
    mix_sdr: float
    sdr: float
    pesq: float = math.nan
    stoi: float = math.nan

    @property
    def si_sdri(self) -> float:
        """SI-SDR improvement; SI-SNRi is the same number."""
        return self.si_sdr - self.mix_si_sdr

    @property
    def alike(self) -> bool:
        """Whether the mixture is what it is to be separated into."""
        return self.mix_si_sdr > ALIKE_DB

    @property
    def sdri(self) -> float:
        """SDR improvement."""
        return self.sdr - self.mix_sdr


def si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """(..., T) and (..., T), broadcast, to dB (...); in float64, means removed. NaN where the target is constant."""
    estimate, target = _wide(estimate), _wide(target)
    estimate = estimate - estimate.mean(-1, keepdim=True)
    target = target - target.mean(-1, keepdim=True)
    energy = (target * target).sum(-1, keepdim=True)
    part = target * ((estimate * target).sum(-1, keepdim=True) / energy)
    signal, noise = (part * part).sum(-1), ((estimate - part) ** 2).sum(-1)
    least = torch.finfo(signal.dtype).eps * torch.where(signal + noise > 0, signal + noise, energy.squeeze(-1))
    return 10 * torch.log10((signal + least) / (noise + least))


def si_snr(estimate: Tensor, target: Tensor) -> Tensor:
    """`si_sdr` by its other name."""
    return si_sdr(estimate, target)


def sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """(..., T) and (..., T), broadcast, to dB (...): SDR of 512 taps. NaN for a target of zeros, 0 for an estimate."""
    estimate, target = torch.broadcast_tensors(_wide(estimate), _wide(target))
    shape, samples = estimate.shape[:-1], estimate.shape[-1]
    estimate, target = estimate.reshape(-1, samples), target.reshape(-1, samples)
    heard, real = estimate.abs().amax(-1) > 0, target.abs().amax(-1) > 0
    values = torch.where(real, 0.0, math.nan).to(estimate)
    for n in torch.nonzero(heard & real).flatten().tolist():
        values[n] = signal_distortion_ratio(estimate[n], target[n], filter_length=512)
    return values.reshape(shape)


def best_permutation(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The assignment of estimates to references with the largest mean.

    Args:
        scores: (..., S, S), of estimate i (rows) against reference j (columns).

    Returns:
        The mean (...), with gradient, and the permutation (..., S).

    Raises:
        ValueError: not square.
    """
    speakers = scores.shape[-1]
    if scores.dim() < 2 or scores.shape[-2] != speakers:
        raise ValueError(f"best_permutation: scores must be (..., S, S), got {tuple(scores.shape)}.")
    flat = scores.reshape(-1, speakers, speakers)
    with torch.no_grad():
        if speakers <= ALL_PERMUTATIONS:
            choices = torch.tensor(_permutations(speakers), device=scores.device)
            # (B, P, S): entry [n, p, j] is the score of estimate choices[p, j] against reference j.
            sums = flat[:, choices, torch.arange(speakers, device=scores.device)].sum(-1)
            best = choices[sums.argmax(-1)]
        else:
            rows = [linear_sum_assignment(matrix.T, maximize=True)[1] for matrix in flat.cpu().numpy()]
            best = torch.from_numpy(np.array(rows, np.int64).reshape(-1, speakers)).to(scores.device)
    value = flat.gather(1, best[:, None])[:, 0].mean(-1)
    return value.reshape(scores.shape[:-2]), best.reshape(scores.shape[:-1])


def permuted(estimates: Tensor, permutation: Tensor) -> Tensor:
    """(..., S, T) in the order of the references."""
    return estimates.gather(-2, permutation[..., None].expand(*permutation.shape, estimates.shape[-1]))


def silent_references(targets: Tensor, mixture: Tensor) -> tuple[int, ...]:
    """Which of (S, T) are 60 dB below the mixture (T,), or constant."""
    spread = [_wide(x) - _wide(x).mean(-1, keepdim=True) for x in (targets, mixture)]
    energies, whole = (x.square().sum(-1) for x in spread)
    return tuple(torch.nonzero(energies <= 10 ** (SILENT_DB / 10) * whole).flatten().tolist())


def score(
    estimates: Tensor,
    targets: Tensor,
    mixture: Tensor,
    name: str = "",
    sample_rate: int = 8000,
    perceptual: bool = False,
) -> Row:
    """One file by the protocol.

    Args:
        estimates: (S, T), in any order and of any level, not rounded to 16 bit.
        targets: (S, T).
        mixture: (T,), which the network was given.
        name: of the file.
        sample_rate: for PESQ and STOI.
        perceptual: PESQ and STOI too, which need packages of their own.

    Raises:
        ValueError: shapes that do not fit, NaN.
        UserError: PESQ or STOI without their packages.
    """
    if estimates.shape != targets.shape or targets.dim() != 2 or mixture.shape != targets.shape[-1:]:
        raise ValueError(
            f"score: estimates {tuple(estimates.shape)}, targets {tuple(targets.shape)} and mixture "
            f"{tuple(mixture.shape)} must be (S, T), (S, T) and (T,)."
        )
    if not (bool(estimates.isfinite().all()) and bool(targets.isfinite().all())):
        raise ValueError(f"score: {name or 'the file'} holds NaN or infinite samples.")
    estimates, targets, mixture = (_wide(x).detach().cpu() for x in (estimates, targets, mixture))
    silent = silent_references(targets, mixture)
    real = [j for j in range(len(targets)) if j not in silent]
    scores = torch.zeros(len(targets), len(targets), dtype=torch.float64)
    scores[:, real] = si_sdr(estimates[:, None], targets[None, real])
    _, permutation = best_permutation(scores)
    ordered, real_targets = estimates[permutation][real], targets[real]
    values = [
        float(of(x, real_targets).mean()) if real else math.nan for of in (si_sdr, sdr) for x in (mixture, ordered)
    ]
    extra = []
    if perceptual:
        for of in (pesq, stoi):
            each = [of(e, t, sample_rate) for e, t in zip(ordered, real_targets, strict=True)]
            extra.append(math.fsum(each) / len(each) if each else math.nan)
    return Row(name, targets.shape[-1], tuple(permutation.tolist()), silent, *values, *extra)


def average(rows: Sequence[Row]) -> dict[str, float]:
    """Means over the files without silent references and without voices that are alike: si_sdr, si_sdri, sdr, sdri,
    mix_si_sdr, mix_sdr, pesq and stoi where there are any; and how many were averaged (`files`) and left out
    (`silent_files`, `alike_files`).

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("average: there are no rows; the set holds no files.")
    heard = [row for row in rows if not row.silent]
    counted = [row for row in heard if not row.alike]
    means = {
        "files": float(len(counted)),
        "silent_files": float(len(rows) - len(heard)),
        "alike_files": float(len(heard) - len(counted)),
    }
    for name in ("si_sdr", "si_sdri", "sdr", "sdri", "mix_si_sdr", "mix_sdr", "pesq", "stoi"):
        values = [value for row in counted if not math.isnan(value := getattr(row, name))]
        if values or name not in ("pesq", "stoi"):
            means[name] = math.fsum(values) / len(values) if values else math.nan
    return means


def pesq(estimate: Tensor, target: Tensor, sample_rate: int) -> float:
    """Perceptual quality (ITU P.862), 1 to 4.6: narrow band at 8 kHz, wide band at 16 kHz; NaN without any speech.

    Raises:
        UserError: another rate, or the package is missing.
    """
    if sample_rate not in (8000, 16000):
        raise UserError(f"PESQ is defined at 8000 and 16000 Hz, not {sample_rate}; leave it out or resample.")
    package = _optional("pesq", "PESQ")
    mode = "nb" if sample_rate == 8000 else "wb"
    silence = getattr(package, "NoUtterancesError", None)
    try:
        return float(package.pesq(sample_rate, target.numpy(), estimate.numpy(), mode))
    except Exception as error:
        if silence is not None and isinstance(error, silence):
            return math.nan
        raise


def stoi(estimate: Tensor, target: Tensor, sample_rate: int) -> float:
    """Short-time objective intelligibility, 0 to 1 (Taal et al. 2011).

    Raises:
        UserError: the package is missing.
    """
    return float(_optional("pystoi", "STOI").stoi(target.numpy(), estimate.numpy(), sample_rate))


def _optional(package: str, metric: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"{metric} needs the package {package}; run pip install 'omnimix[audio-metrics]', or leave it out."
        ) from error


@lru_cache
def _permutations(speakers: int) -> list[tuple[int, ...]]:
    return list(itertools.permutations(range(speakers)))


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.float64)
