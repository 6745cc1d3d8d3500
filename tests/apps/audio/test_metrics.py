"""SI-SDR and SDR: by their definition, against torchmetrics, and the table of the published network's outputs."""

import csv
import itertools
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from scipy.linalg import toeplitz
from torchmetrics.functional.audio import (
    scale_invariant_signal_distortion_ratio,
    scale_invariant_signal_noise_ratio,
)

from apps.audio.data.public import data_folder
from apps.audio.metrics import (
    average,
    best_permutation,
    pesq,
    score,
    sdr,
    si_sdr,
    si_snr,
    stoi,
)
from core.errors import UserError


def signals(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_si_sdr_by_its_definition_and_as_torchmetrics_with_zero_mean():
    t = signals(3, 400) + 0.3
    e = 2 * t + signals(3, 400, seed=1) - 0.7
    for row, (a, b) in zip(si_sdr(e, t).tolist(), zip(e.numpy(), t.numpy(), strict=True), strict=True):
        a, b = a - a.mean(), b - b.mean()
        part = (a @ b) / (b @ b) * b
        assert row == pytest.approx(10 * math.log10((part @ part) / ((a - part) @ (a - part))), abs=1e-9)
    kwargs = {"preds": e, "target": t}
    # torchmetrics adds float32's eps even to float64 values.
    torch.testing.assert_close(si_sdr(e, t), scale_invariant_signal_noise_ratio(**kwargs), atol=1e-6, rtol=0)
    torch.testing.assert_close(si_snr(e, t), si_sdr(e, t))
    assert (si_sdr(e, t) - scale_invariant_signal_distortion_ratio(**kwargs)).abs().min() > 0.01
    assert si_sdr(7 * e.float() + 5, t.float()).dtype == torch.float64


def test_values_at_the_limits():
    t, zero = signals(200), torch.zeros(200, dtype=torch.float64)
    assert 150 < float(si_sdr(t, t)) < 160 and float(si_sdr(zero, t)) == 0 and math.isnan(float(si_sdr(t, zero)))
    assert float(si_sdr(t, signals(200, seed=1))) < -10
    assert float(sdr(zero, t)) == 0 and math.isnan(float(sdr(t, zero))) and math.isnan(float(sdr(zero, zero)))


def test_sdr_is_the_best_filter_of_512_taps():
    """Against the normal equations, solved densely."""
    t, e = signals(900), signals(900, seed=1)
    e[3:] += t[:-3]
    shifts = toeplitz(np.r_[t.numpy(), np.zeros(511)], np.zeros(512))
    padded = np.r_[e.numpy(), np.zeros(511)]
    fitted = shifts @ np.linalg.lstsq(shifts, padded, rcond=None)[0]
    expected = 10 * math.log10((fitted @ fitted) / ((padded - fitted) @ (padded - fitted)))
    assert float(sdr(e, t)) == pytest.approx(expected, abs=1e-6)
    assert sdr(torch.stack([e, t])[:, None], torch.stack([t, e])).shape == (2, 2)


@pytest.mark.parametrize("speakers", [1, 2, 3, 4, 5, 6])
def test_permutation_is_the_best_of_all(speakers):
    scores = signals(3, 2, speakers, speakers).requires_grad_()
    value, best = best_permutation(scores)
    assert value.shape == (3, 2) and best.shape == (3, 2, speakers)
    for a, b in itertools.product(range(3), range(2)):
        tried = {
            p: sum(scores[a, b, p[j], j].item() for j in range(speakers)) / speakers
            for p in itertools.permutations(range(speakers))
        }
        assert value[a, b].item() == pytest.approx(max(tried.values()))
        assert tuple(best[a, b].tolist()) == max(tried, key=tried.get)
    value.sum().backward()
    assert scores.grad.sum().item() == pytest.approx(6)


def test_rows_and_averages():
    t = signals(2, 2000)
    e = torch.stack([t[1] + 0.1 * t[0], 3 * t[0]])
    row = score(e, t, t.sum(0), "a")
    assert row.permutation == (1, 0) and row.silent == () and row.frames == 2000 and row.si_sdr > 80
    assert row.si_sdri == row.si_sdr - row.mix_si_sdr and row.sdri == row.sdr - row.mix_sdr and row.sdr > 20
    assert math.isnan(row.pesq)
    quiet = score(e, torch.stack([t[0], 1e-4 * t[1]]), t[0] + 1e-4 * t[1])
    assert quiet.silent == (1,) and quiet.permutation == (1, 0) and quiet.si_sdr > 100
    nothing = score(e, torch.zeros(2, 2000), torch.zeros(2000))
    assert nothing.silent == (0, 1) and math.isnan(nothing.si_sdr)
    means = average([row, quiet, nothing, row])
    assert means["files"] == 2 and means["silent_files"] == 2 and means["si_sdri"] == pytest.approx(row.si_sdri)
    # Twice the same voice: the mixture is what is wanted already.
    same = score(e, torch.stack([t[0], t[0]]), 2 * t[0])
    assert same.alike and average([row, same])["si_sdri"] == row.si_sdri and average([row, same])["alike_files"] == 1
    assert "pesq" not in means and math.isnan(average([nothing])["si_sdri"])
    with pytest.raises(ValueError, match="no rows"):
        average([])
    with pytest.raises(ValueError, match="NaN"):
        score(e * math.nan, t, t.sum(0))
    with pytest.raises(ValueError, match="must be"):
        score(e, t, t)


def test_perceptual_scores_need_their_packages(monkeypatch):
    e, t = signals(2, 800), signals(2, 800, seed=1)
    for package in ("pesq", "pystoi"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"PESQ needs the package pesq; run pip install 'omnimix\[audio-metrics\]'"):
        score(e, t, t.sum(0), perceptual=True)
    with pytest.raises(UserError, match="STOI needs the package pystoi"):
        stoi(e[0], t[0], 8000)
    with pytest.raises(UserError, match="not 44100"):
        pesq(e[0], t[0], 44100)


def test_perceptual_scores_compare_matched_speakers(monkeypatch):
    class NoUtterancesError(Exception):
        pass

    def quality(rate, reference, degraded, mode):
        if not reference.any():
            raise NoUtterancesError
        return (4.0 if np.array_equal(reference, degraded) else 1.0) + (mode == "wb") / 8

    monkeypatch.setitem(sys.modules, "pesq", SimpleNamespace(pesq=quality, NoUtterancesError=NoUtterancesError))
    monkeypatch.setitem(
        sys.modules, "pystoi", SimpleNamespace(stoi=lambda t, e, rate: float(np.array_equal(t, e)) * rate / 16000)
    )
    t = signals(2, 800)
    row = score(t.flip(0), t, t.sum(0), sample_rate=16000, perceptual=True)
    assert row.pesq == 4.125 and row.stoi == 1 and average([row])["pesq"] == 4.125
    assert pesq(t[0], t[1], 8000) == 1 and math.isnan(pesq(t[0], torch.zeros(800), 8000))


@pytest.mark.skipif(not (data_folder("") / "test.csv").is_file(), reason="the 28 mixtures are not on this machine")
def test_table_of_the_shipped_mixtures_and_of_the_published_outputs():
    folder = data_folder("")
    with (folder / "test.csv").open() as file:
        rows = {row["item"]: row for row in csv.DictReader(file)}
    assert len(rows) == 28
    checked = 0
    for name, row in rows.items():
        targets = torch.from_numpy(soundfile.read(folder / "test" / f"{name}.flac")[0].T)
        mixture, official = targets.sum(0), folder / "official" / f"{name}.flac"
        if official.is_file():
            ours = score(torch.from_numpy(soundfile.read(official)[0].T), targets, mixture, name)
            for key in ("si_sdr", "si_sdri", "sdr", "sdri"):
                assert getattr(ours, key) == pytest.approx(float(row[f"official_{key}"]), abs=6e-4), (name, key)
            checked += 1
        assert float(si_sdr(mixture, targets).mean()) == pytest.approx(float(row["mix_si_sdr"]), abs=6e-4)
        assert float(sdr(mixture, targets).mean()) == pytest.approx(float(row["mix_sdr"]), abs=6e-4)
    assert checked == 4
    means = [np.mean([float(row[f"official_{key}"]) for row in rows.values()]) for key in ("si_sdri", "sdri")]
    np.testing.assert_allclose(means, [21.67, 21.89], atol=0.005)
