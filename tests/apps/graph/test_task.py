"""The task: what counts in the loss, stages, and one answer however the graph is cut."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from apps.graph.baselines import baselines
from apps.graph.data.datamodule import GraphData
from apps.graph.data.generators import ContextualSbm
from apps.graph.data.loaders import FullBatch, Neighbourhoods
from apps.graph.evaluate import collect
from apps.graph.models import GAT, GCN, Polynormer, SGFormer, TunedGNN
from apps.graph.stages import GlobalStage
from apps.graph.task import NodeTask, loss_of
from core.training.cli import Runner


def runner(**settings):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return Runner(**quiet, enable_checkpointing=False, num_sanity_val_steps=0, **settings)


def data(**options):
    return GraphData(ContextualSbm(200, train=0.3), self_loops=True, **options)


def test_unknown_labels_do_not_count():
    scores = torch.randn(6, 3, requires_grad=True)
    labels = torch.tensor([0, -1, 2, 1, -1, 0])
    torch.testing.assert_close(loss_of(scores, labels), cross_entropy(scores[labels >= 0], labels[labels >= 0]))
    assert loss_of(scores, torch.full((6,), -1)).item() == 0
    tasks = torch.tensor([[0.0, 1.0, float("nan")]] * 6)
    expected = binary_cross_entropy_with_logits(scores[:, :2], tasks[:, :2])
    torch.testing.assert_close(loss_of(scores, tasks), expected)
    loss_of(scores, tasks).backward()
    assert scores.grad.isfinite().all()


NETWORKS = {
    "gcn": partial(GCN, hidden=8),
    "tuned gcn": partial(TunedGNN, hidden=8, depth=2),
    "gat": partial(GAT, head_dim=4, heads=2),
    "polynormer": partial(Polynormer, width=8, heads=2, local_depth=2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_one_answer_for_whole_drawn_and_layer_by_layer(name):
    """Full batch, all neighbours of drawn batches and, where the network can, some nodes at a time."""
    torch.manual_seed(0)
    ways = {"whole": FullBatch(), "drawn": Neighbourhoods((-1, -1), 33), "by layers": FullBatch(rows=17)}
    task, found = NodeTask(NETWORKS[name]), {}
    for way, evaluation in ways.items():
        made = data(evaluation=evaluation)
        task.prepare(made.channels, made.classes)
        found[way] = collect(task, runner(), made, "all", None)
    for other in ("drawn", "by layers"):
        torch.testing.assert_close(found[other].scores, found["whole"].scores, rtol=1e-4, atol=1e-5)
        assert torch.equal(found[other].nodes, found["whole"].nodes)
    assert found["whole"].embeddings.shape[0] == 200


def test_stages_are_kept_in_checkpoints(tmp_path):
    made = data(loading=FullBatch(2))
    task = NodeTask(partial(Polynormer, width=8, heads=2, local_depth=1))
    trainer = runner(max_epochs=3, callbacks=[GlobalStage(2)])
    trainer.fit(task, datamodule=made)
    assert task.net.stage == 1
    path = tmp_path / "kept.ckpt"
    trainer.save_checkpoint(path)
    again = NodeTask(partial(Polynormer, width=8, heads=2, local_depth=1))
    again.prepare(made.channels, made.classes)
    assert again.net.stage == 0
    first, second = (collect(t, runner(), made, "test", p) for t, p in ((task, None), (again, path)))
    assert again.net.stage == 1
    torch.testing.assert_close(first.scores, second.scores)


def test_training_helps_and_validation_chooses():
    made = data(loading=FullBatch(20))
    task = NodeTask(partial(SGFormer, hidden=16), partial(torch.optim.Adam, lr=0.01))
    trainer = runner(max_epochs=5)
    torch.manual_seed(0)
    trainer.fit(task, datamodule=made)
    score = float(trainer.callback_metrics["val_score"])
    assert score > 0.4  # four classes
    assert trainer.validate(task, datamodule=made, verbose=False)[0]["val_score"] == pytest.approx(score)


def test_the_best_epoch_by_score_or_by_loss():
    made = data(loading=FullBatch(3))
    task = NodeTask(partial(GCN, hidden=8), by_loss=True)
    assert (task.monitor, task.mode) == ("val_loss", "min") and NodeTask(GCN).monitor == "val_score"
    trainer = runner(max_epochs=1)
    trainer.fit(task, datamodule=made)
    found = collect(task, runner(), made, "validation", None)
    assert float(trainer.callback_metrics["val_loss"]) == pytest.approx(loss_of(found.scores, found.labels).item())


def test_baselines_are_what_they_say():
    """Ridge against the normal equations written out, on the penalty that validation prefers."""
    made = data()
    nodes, split = made.nodes, made.parts
    found = baselines(nodes, split)
    counts = np.bincount(nodes.labels[split.train], minlength=4)
    assert found["most frequent class"][1] == pytest.approx((nodes.labels[split.test] == counts.argmax()).mean())
    x = nodes.features.astype(np.float64)
    own = x[split.train]
    x = (x - own.mean(0)) / own.std(0, ddof=1)
    targets = np.eye(4)[nodes.labels[split.train]]
    gram = x[split.train].T @ x[split.train]
    best = (-1.0, -1.0)
    for power in range(-3, 3):
        penalty = 10.0**power * np.trace(gram) / len(gram)
        w = np.linalg.solve(gram + penalty * np.eye(len(gram)), x[split.train].T @ (targets - targets.mean(0)))
        guess = (x @ w + targets.mean(0)).argmax(1)
        values = [float((guess[ids] == nodes.labels[ids]).mean()) for ids in (split.validation, split.test)]
        best = max(best, tuple(values))
    assert found["ridge on own features"] == pytest.approx(best)
    assert found["ridge on 2 hops of features"][1] > found["ridge on own features"][1]
