"""Evaluation: the data's own metric on the test nodes, baselines and published systems in the same table."""

__all__ = ["collect", "evaluate"]

import math
import time

import lightning.pytorch as pl
import torch

from apps.graph.baselines import baselines
from apps.graph.data.datamodule import GraphData
from apps.graph.metrics import accuracy
from apps.graph.pictures import sections
from apps.graph.published import PUBLISHED
from apps.graph.statistics import Statistics
from apps.graph.task import NodeTask, Predicted, together
from core.training.report import Row, Table
from core.training.results import hardware
from core.training.task import Evaluation


def collect(task: NodeTask, trainer: pl.Trainer, data: GraphData, part: str, ckpt_path: str | None) -> Predicted:
    """Of all nodes of validation, test or all, gathered over processes."""
    made = trainer.forecasts(task, data.loader(part), ckpt_path)  # type: ignore[attr-defined]
    return Predicted(*together([torch.cat(rows) for rows in zip(*made, strict=True)]))


def evaluate(task: NodeTask, trainer: pl.Trainer, data: GraphData, ckpt_path: str | None) -> Evaluation:
    """Test and validation value, with baselines without a network."""
    started = time.perf_counter()
    task.prepare(data.channels, data.classes)
    nodes, metric = data.nodes, data.nodes.metric
    validation, test = (collect(task, trainer, data, part, ckpt_path) for part in ("validation", "test"))
    values = {
        "test": 100 * metric(test.scores, test.labels),
        "validation": 100 * metric(validation.scores, validation.labels),
    }
    rows = [Row(task.label, values, ours=True)]
    for name, (chosen, reached) in baselines(nodes, data.parts).items():
        rows.append(Row(name, {"test": 100 * reached, "validation": 100 * chosen}))
    for name, (value, deviation) in PUBLISHED.get(data.label, {}).items():
        note = "published, mean over splits, not run here"
        rows.append(Row(name, {"test": value}, note, deviations={} if deviation is None else {"test": deviation}))
    kind = "accuracy" if metric is accuracy else "area under the ROC curve"
    facts = data.statistics()
    tables = [
        Table(
            f"{data.label}: {kind} in percent",
            ["test", "validation"],
            rows,
            f"Split {data.split}, {len(test.nodes):,} test nodes, epoch of best validation; seed "
            f"{task.config.get('seed_everything')}; {hardware()}.",
            digits=2,
            higher=frozenset(["test", "validation"]),
        ),
        _graph(facts, data.label),
    ]
    return Evaluation(
        task="node classification",
        protocol=f"{kind}, split {data.split}",
        data=data.label,
        split="test",
        model=task.label,
        metrics=values,
        tables=tables,
        sections=sections(test, data),
        sentence=f"{task.label} classifies nodes of {data.label}, {nodes.graph.nodes:,} nodes and "
        f"{nodes.graph.edges:,} edges: {values['test']:.1f} % {kind} on {len(test.nodes):,} test nodes.",
        seconds=time.perf_counter() - started,
    )


def _graph(facts: Statistics, label: str) -> Table:
    """What the graph is like, which says what to expect."""
    values = {
        "nodes": facts.nodes,
        "edges": facts.edges,
        "mean degree": facts.mean_degree,
        "largest degree": facts.largest_degree,
        "isolated": facts.isolated,
        "edge homophily": facts.edge_homophily,
        "adjusted homophily": facts.adjusted_homophily,
    }
    known = {name: float(value) for name, value in values.items() if not math.isnan(value)}
    digits = {name: 0 for name in ("nodes", "edges", "largest degree", "isolated")} | {"mean degree": 1}
    return Table(
        "The graph",
        list(known),
        [Row(label, known)],
        "Edges counted once, without loops; homophily: share of edges within a class; adjusted: 0 by chance.",
        digits={name: digits.get(name, 3) for name in known},
        higher=frozenset(known),
    )
