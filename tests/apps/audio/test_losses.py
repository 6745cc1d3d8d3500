"""The loss: the best permutation, clips of unequal length, silence, half precision."""

import math

import pytest
import torch
from torch.autograd import gradcheck
from torchmetrics.functional.audio import permutation_invariant_training, scale_invariant_signal_noise_ratio

from apps.audio.losses import hard_mean, pit_loss
from apps.audio.metrics import best_permutation, permuted, si_sdr


def signals(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_permutation_has_the_order_of_torchmetrics():
    t = signals(4, 3, 100)
    e = t[:, [1, 2, 0]] + 0.1 * signals(4, 3, 100, seed=1)
    loss, permutation = pit_loss(e, t)
    value, theirs = permutation_invariant_training(e, t, scale_invariant_signal_noise_ratio)
    assert torch.equal(permutation, theirs) and permutation.tolist() == [[2, 0, 1]] * 4
    torch.testing.assert_close(loss, -value, atol=1e-5, rtol=0)
    assert float(si_sdr(permuted(e, permutation), t).min()) > 15
    with pytest.raises(ValueError, match=r"\(\.\.\., S, S\)"):
        best_permutation(torch.zeros(2, 3))


def test_loss_ignores_what_lies_behind_the_end_of_a_clip():
    t, e, lengths = signals(3, 2, 120), signals(3, 2, 120, seed=1) + 0.2, torch.tensor([120, 77, 40])
    e += t.flip(1)
    loss, permutation = pit_loss(e, t, lengths)
    for n, length in enumerate(lengths.tolist()):
        alone, order = pit_loss(e[n : n + 1, :, :length], t[n : n + 1, :, :length])
        torch.testing.assert_close(loss[n : n + 1], alone, atol=1e-10, rtol=0)
        assert torch.equal(order[0], permutation[n])
    e[1, :, 77:] = math.nan
    torch.testing.assert_close(pit_loss(e, t, lengths)[0], loss)
    e = e.nan_to_num().requires_grad_()
    pit_loss(e, t, lengths)[0].sum().backward()
    assert e.grad[1, :, 77:].abs().max() == 0 and e.grad[1, :, :77].abs().min() > 0


def test_gradient_of_the_loss():
    e, t = signals(2, 2, 9).requires_grad_(), signals(2, 2, 9, seed=1)
    assert gradcheck(lambda x: pit_loss(x, t, torch.tensor([9, 6]))[0], e)


def test_loss_of_silent_references_and_estimates():
    t, e = signals(2, 2, 50), signals(2, 2, 50, seed=1).requires_grad_()
    t[0, 1] = 0
    loss, permutation = pit_loss(e, t)
    each = si_sdr(e[0], t[0, 0])
    assert loss[0].item() == pytest.approx(-each.max().item(), abs=1e-4) and permutation[0, 0] == each.argmax()
    silent, _ = pit_loss(e, torch.zeros(2, 2, 50, dtype=torch.float64))
    assert silent.tolist() == [0, 0]
    for x in (torch.zeros(2, 2, 50), t.float()):
        x = x.clone().requires_grad_()
        value, _ = pit_loss(x, t.float())
        value.sum().backward()
        assert bool(value.isfinite().all()) and bool(x.grad.isfinite().all())
    with pytest.raises(ValueError, match="must both be"):
        pit_loss(e, t[:, :1])


def test_half_precision_is_computed_in_float32():
    t = signals(1, 2, 4000).float()
    loss, _ = pit_loss(t.bfloat16(), t)
    close = torch.cat([t[:, :1], t[:, :1] + 0.01 * t[:, 1:]], 1)
    with torch.autocast("cpu", torch.bfloat16):
        value, permutation = pit_loss(close.flip(1), close)
    assert permutation.tolist() == [[1, 0]] and value.dtype == torch.float32 and float(value) < -60
    assert loss.dtype == torch.float32 and -60 < float(loss) < -40


def test_solved_clips_no_longer_count():
    loss = torch.tensor([-31.0, -10.0, -20.0], requires_grad=True)
    hard_mean(loss).backward()
    assert hard_mean(loss).item() == -15 and loss.grad.tolist() == [0, 0.5, 0.5]
    solved = torch.tensor([-40.0], requires_grad=True)
    hard_mean(solved).backward()
    assert hard_mean(solved).item() == 0 and solved.grad.tolist() == [0]
