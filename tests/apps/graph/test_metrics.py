"""Metrics against sklearn and torchmetrics, ties and all."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, roc_auc_score
from torchmetrics.functional.classification import binary_auroc, multiclass_accuracy

from apps.graph.metrics import accuracy, best_epoch, mean_roc_auc, roc_auc, summarise
from core.errors import UserError

MADE = torch.Generator().manual_seed(0)
SCORES = torch.randn(300, 4, generator=MADE)
LABELS = torch.randint(4, (300,), generator=MADE)


def test_accuracy():
    assert accuracy(SCORES, LABELS) == pytest.approx(accuracy_score(LABELS, SCORES.argmax(1)))
    assert accuracy(SCORES, LABELS) == pytest.approx(multiclass_accuracy(SCORES, LABELS, 4, average="micro").item())
    # OGB: labels (n, 1), NaN left out.
    open_labels = LABELS.float()[:, None].masked_fill(torch.rand(300, 1, generator=MADE) < 0.3, torch.nan)
    known = ~open_labels[:, 0].isnan()
    assert accuracy(SCORES, open_labels) == pytest.approx(accuracy_score(LABELS[known], SCORES.argmax(1)[known]))
    assert accuracy(torch.tensor([2.0, -1, 3]), torch.tensor([1, 1, -1])) == 0.5


@pytest.mark.parametrize("digits", [0, 1, 6])
def test_area_under_the_curve(digits):
    """Rounded scores have ties."""
    single, labels = SCORES[:, 0].round(decimals=digits), (LABELS > 2).long()
    expected = roc_auc_score(labels, single)
    assert roc_auc(single, labels) == pytest.approx(expected)
    assert roc_auc(single, labels) == pytest.approx(binary_auroc(single, labels).item(), abs=1e-6)
    assert roc_auc(torch.stack([torch.zeros(300), single], 1), labels) == pytest.approx(expected)
    hidden = labels.clone()
    hidden[:50] = -1
    assert roc_auc(single, hidden) == pytest.approx(roc_auc_score(labels[50:], single[50:]))


def test_mean_over_tasks():
    labels = (torch.rand(300, 4, generator=MADE) < 0.4).float()
    labels[torch.rand(300, 4, generator=MADE) < 0.2] = torch.nan
    labels[:, 2] = 1
    parts = []
    for task in (0, 1, 3):
        known = ~labels[:, task].isnan()
        parts.append(roc_auc_score(labels[known, task], SCORES[known, task]))
    assert mean_roc_auc(SCORES, labels) == pytest.approx(np.mean(parts))


def test_numbers_that_cannot_be():
    with pytest.raises(UserError, match="3 positive and 0 negative"):
        roc_auc(torch.randn(3), torch.ones(3))
    with pytest.raises(UserError, match="scores of 4 classes"):
        roc_auc(SCORES, LABELS)
    with pytest.raises(UserError, match="1 scores are not finite"):
        roc_auc(torch.tensor([1.0, torch.nan]), torch.tensor([0, 1]))
    with pytest.raises(UserError, match="no task has both"):
        mean_roc_auc(SCORES, torch.ones(300, 4))
    with pytest.raises(UserError, match="none of the nodes"):
        accuracy(SCORES, torch.full((300,), -1))
    with pytest.raises(UserError, match="train at least one"):
        summarise([])


def test_over_runs():
    found = summarise([0.5, 0.7, 0.9])
    assert found.mean == pytest.approx(0.7) and found.deviation == pytest.approx(np.std([0.5, 0.7, 0.9], ddof=1))
    assert str(found) == "70.00 ± 20.00 (3)" and np.isnan(summarise([0.5]).deviation)
    assert best_epoch([0.1, 0.5, 0.4, 0.5]) == 1
