"""A user's graph in, a class for each of its nodes out."""

__all__ = ["predict"]

from pathlib import Path

import lightning.pytorch as pl
import pandas as pd
import torch

from apps.graph.data.datamodule import GraphData
from apps.graph.evaluate import collect
from apps.graph.task import NodeTask
from core.errors import UserError
from core.training.files import writing


def predict(task: NodeTask, trainer: pl.Trainer, data: GraphData, ckpt_path: str | None, out: Path) -> None:
    """Classifies all nodes of `--data.edges` (with `--data.features`) and writes a table: id, class, chance of each.

    Classes are those of the checkpoint. Binary tasks get a chance each and no class.

    Raises:
        UserError: --out is no .csv, or the features have another width than those of the training.
    """
    if out.suffix != ".csv":
        raise UserError(f"--out {out}: is no .csv; name the table to write.")
    task.restore_facts(ckpt_path)
    classes = task.facts.get("classes") or list(data.classes)
    trained = task.facts.get("channels")
    if trained not in (None, data.channels):
        raise UserError(
            f"{data.label}: its nodes have {data.channels} features with encodings, the network was trained on "
            f"{trained}; give the features that it knows."
        )
    task.prepare(data.channels, classes)
    found = collect(task, trainer, data, "all", ckpt_path)
    if not trainer.is_global_zero:
        return
    tasks = data.nodes.labels.ndim == 2
    chances = found.scores.sigmoid() if tasks else found.scores.softmax(1)
    names = data.nodes.ids
    table = pd.DataFrame({"id": found.nodes.numpy() if names is None else [names[n] for n in found.nodes.tolist()]})
    if not tasks:
        table["class"] = [classes[n] for n in found.scores.argmax(1).tolist()]
    for n, name in enumerate(classes):
        table[f"chance of {name}"] = torch.round(chances[:, n].double(), decimals=6).numpy()
    with writing(out) as path:
        table.to_csv(path, index=False)
    print(f"{out}: {len(table):,} nodes", flush=True)
