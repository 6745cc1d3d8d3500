"""One matrix for a split, void left out, absent classes without a value."""

from pathlib import Path

import pytest
import torch

from apps.vision.segmentation.goldens import GOLDENS
from apps.vision.segmentation.metrics.confusion import Confusion, confusion, scores
from core.verify import verify

GOLDEN = Path(__file__).parents[4] / "golden" / "seg_metrics"


def one_hot(label, prediction, classes, ignore):
    """The definition, pixel by pixel."""
    matrix = torch.zeros(classes, classes, dtype=torch.int64)
    for g, p in zip(label.flatten().tolist(), prediction.flatten().tolist(), strict=True):
        if g != ignore:
            matrix[g, p] += 1
    return matrix


@pytest.mark.parametrize("name", ["confusion", "boundary_f"])
def test_golden(name):
    cls = {"confusion": "get_confusion_matrix", "boundary_f": "db_eval_boundary"}[name]
    results = verify(GOLDEN / f"{name}.safetensors", GOLDENS["seg_metrics"][cls])
    assert results and all(result.ok for result in results)


@pytest.mark.parametrize("ignore", [5, 255, -1, 65_535])
@pytest.mark.parametrize("kind", [torch.uint8, torch.int64])
def test_counts_by_definition(ignore, kind):
    if not 0 <= ignore < 256 and kind == torch.uint8:
        kind = torch.int32
    torch.manual_seed(0)
    label = torch.randint(0, 6, (2, 9, 7))
    label[label == 5] = ignore
    prediction = torch.randint(0, 5, (2, 9, 7))
    found = confusion(label.to(kind), prediction.to(kind), 5, ignore)
    assert found.dtype == torch.int64
    assert torch.equal(found, one_hot(label, prediction, 5, ignore))


def test_many_classes_do_not_overflow_a_byte():
    label = torch.tensor([199, 3], dtype=torch.uint8)
    assert confusion(label, label, 200, 255)[199, 199] == 1


def test_means_leave_out_classes_without_pixels():
    matrix = torch.tensor([[6, 2, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    found = scores(matrix)
    assert found.iou[:2].tolist() == [6 / 8, 4 / 6] and found.iou[2:].isnan().all()
    assert found.miou == pytest.approx((6 / 8 + 4 / 6) / 2)
    assert found.macc == pytest.approx((6 / 8 + 1) / 2)
    assert found.aacc == pytest.approx(10 / 12)


def test_a_class_only_predicted_counts_as_zero():
    found = scores(torch.tensor([[3, 1], [0, 0]]))
    assert found.iou.tolist() == [0.75, 0.0] and found.miou == 0.375
    # Nobody labelled it, so there is no share of it that is right.
    assert found.macc == 0.75


def test_nothing_labelled_is_nan_not_perfect():
    metric = Confusion(3)
    metric.update(torch.full((4, 4), 255), torch.zeros(4, 4, dtype=torch.int64))
    found = metric.compute()
    assert all(value != value for value in (found.miou, found.macc, found.aacc))


def test_batches_are_summed_not_averaged():
    torch.manual_seed(1)
    label, prediction = torch.randint(0, 3, (4, 5, 5)), torch.randint(0, 3, (4, 5, 5))
    metric = Confusion(3)
    for n in (0, 1):
        metric.update(label[n : 3 * n + 1], prediction[n : 3 * n + 1])
    assert torch.equal(metric.matrix, confusion(label, prediction, 3))
    means = [scores(confusion(label[n : 3 * n + 1], prediction[n : 3 * n + 1], 3)).miou for n in (0, 1)]
    assert metric.compute().miou != pytest.approx(sum(means) / 2, abs=1e-6)


def test_equals_torchmetrics_where_that_is_right_and_not_where_it_is_wrong():
    from torchmetrics.classification import MulticlassJaccardIndex
    from torchmetrics.segmentation import MeanIoU

    torch.manual_seed(2)
    label, prediction = torch.randint(0, 6, (3, 8, 8)), torch.randint(0, 5, (3, 8, 8))
    ours = scores(confusion(label, prediction, 5, ignore=5)).miou
    right = MulticlassJaccardIndex(5, average="macro", ignore_index=5)
    assert right(prediction, label).item() == pytest.approx(ours, abs=1e-6)
    by_image = MeanIoU(6, input_format="index")(prediction, label).item()
    assert abs(by_image - ours) > 1e-3


def test_errors_name_the_value():
    fine = torch.zeros(2, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="labels hold 7 and there are 3 classes"):
        confusion(fine + 7, fine, 3)
    with pytest.raises(ValueError, match="labels hold -1; they must be classes"):
        confusion(fine - 1, fine, 3)
    with pytest.raises(ValueError, match="predictions hold 3"):
        confusion(fine, fine + 3, 3)
    with pytest.raises(ValueError, match="one shape"):
        confusion(fine, fine[:1], 3)
    with pytest.raises(ValueError, match="ignored value is no class"):
        Confusion(12, ignore=11)


def test_predictions_of_ignored_pixels_may_be_anything():
    label, prediction = torch.tensor([0, 255]), torch.tensor([0, 90])
    assert confusion(label, prediction, 2).tolist() == [[1, 0], [0, 0]]


def test_processes_add_up_their_matrices():
    torch.manual_seed(4)
    label, prediction = torch.randint(0, 3, (2, 40)), torch.randint(0, 3, (2, 40))
    here, there = Confusion(3), Confusion(3)
    here.update(label[0], prediction[0])
    there.update(label[1, :9], prediction[1, :9])
    here.sync(dist_sync_fn=lambda state, group=None: [state, there.matrix], distributed_available=lambda: True)
    whole = confusion(torch.cat([label[0], label[1, :9]]), torch.cat([prediction[0], prediction[1, :9]]), 3)
    assert torch.equal(here.matrix, whole)
