"""A graph to batches for training, evaluation and prediction; see `items.Batch` for what a network gets.

Preparation, in this order: both directions of edges, self loops, rows of features scaled, encodings. The split is one
of the source's official ones, or drawn by seed where it has none.
"""

__all__ = ["GraphData"]

from functools import cached_property

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from apps.graph.encodings import Encoding
from apps.graph.statistics import Statistics, statistics
from core.errors import UserError
from core.training.draws import Draws
from core.training.loader import ResumableLoader

from .checks import checked
from .edge_list import EdgeList
from .features import normalise_rows
from .items import Batch, NodeSet, Source, Split
from .loaders import Batches, FullBatch, Loading
from .splits import random_split


class GraphData(pl.LightningDataModule):
    """Nodes of a source, or of your own files (`edges`, `features`, `labels`, `nodes`).

    Args:
        source: a graph with labels.
        edges, features, labels, nodes: your own graph, as `EdgeList` reads it; goes before `source`.
        directed: an edge of your own graph is not its own other direction.
        split: which of the source's splits; the seed of a drawn one where it has none.
        shares: of nodes to train and to validate on, of a drawn split.
        undirected: makes both directions of every edge.
        self_loops: every node has one edge to itself (True), none (False), or what the source has (None).
        scaled: every row of features is divided by its sum.
        encodings: computed once and given beside the features.
        loading: batches to train on.
        evaluation: batches of validation, test and prediction.
        workers: loader processes, in training.
    """

    def __init__(
        self,
        source: Source | None = None,
        edges: str | None = None,
        features: str | None = None,
        labels: str | None = None,
        nodes: str | None = None,
        directed: bool = False,
        split: int = 0,
        shares: tuple[float, float] = (0.5, 0.25),
        undirected: bool = False,
        self_loops: bool | None = None,
        scaled: bool = False,
        encodings: tuple[Encoding, ...] = (),
        loading: Loading | None = None,
        evaluation: Loading | None = None,
        workers: int = 0,
    ):
        super().__init__()
        if edges is not None:
            source = EdgeList(edges, features, labels, nodes, directed)
        if source is None:
            raise UserError("--data: name a table of edges with --data.edges, or a set with --data.source.")
        if split < 0 or workers < 0:
            raise UserError(f"--data: split {split} and workers {workers} must not be negative.")
        self.source, self.split, self.shares, self.workers = source, split, tuple(shares), workers
        self.undirected, self.self_loops, self.scaled = undirected, self_loops, scaled
        self.encodings = tuple(encodings)
        self.loading, self.evaluation = loading or FullBatch(), evaluation or FullBatch()

    @property
    def label(self) -> str:
        """The data in a word."""
        return self.source.label

    @cached_property
    def nodes(self) -> NodeSet:
        """The set, checked and prepared.

        Raises:
            UserError: it has faults; names the first.
        """
        nodes = checked(self.source.load(), self.label)
        graph = nodes.graph.undirected() if self.undirected else nodes.graph
        if self.self_loops is not None:
            graph = graph.with_loops() if self.self_loops else graph.without_loops()
        return nodes._replace(graph=graph, features=normalise_rows(nodes.features) if self.scaled else nodes.features)

    @cached_property
    def encoding(self) -> Tensor | None:
        """(N, P) all encodings side by side."""
        if not self.encodings:
            return None
        return torch.from_numpy(np.concatenate([encoding(self.nodes.graph) for encoding in self.encodings], 1))

    @cached_property
    def parts(self) -> Split:
        """Ids to train, validate and test on.

        Raises:
            UserError: the source has no such split, or too few nodes with a label to draw one.
        """
        nodes = self.nodes
        if nodes.splits:
            if self.split >= len(nodes.splits):
                raise UserError(
                    f"--data.split {self.split}: {self.label} has splits 0 .. {len(nodes.splits) - 1}; choose one."
                )
            return nodes.splits[self.split]
        known = nodes.labels >= 0 if nodes.labels.ndim == 1 else ~np.isnan(nodes.labels).all(1)
        return random_split(np.nonzero(known)[0], self.split, self.shares)

    @property
    def width(self) -> int:
        """F, of the features; those of the encodings come beside."""
        return int(self.nodes.features.shape[1])

    @property
    def channels(self) -> int:
        """Width of x in a batch: of the features, and of the encodings where they stand beside them."""
        return self.loading.channels(self.width, 0 if self.encoding is None else self.encoding.shape[1])

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""
        return self.nodes.classes

    def statistics(self) -> Statistics:
        """Degrees and homophily."""
        labels = self.nodes.labels
        return statistics(self.nodes.graph, labels if labels.ndim == 1 else np.full(len(labels), -1))

    def batches(self, part: str, seed: int = 0) -> Batches:
        """Numbered batches of train (shuffled), validation, test or all nodes."""
        if part not in ("train", "validation", "test", "all"):
            raise ValueError(f"GraphData: part {part!r} is not one of train, validation, test, all.")
        ids: NDArray[np.int64] = np.arange(self.nodes.graph.nodes) if part == "all" else getattr(self.parts, part)
        loading = self.loading if part == "train" else self.evaluation
        return loading.batches(self.nodes, self.encoding, ids, seed, part == "train")

    def loader(self, part: str) -> DataLoader:
        """Batches of validation, test or all nodes in order, drawn alike every time."""
        return ResumableLoader(self.batches(part), batch_size=1, collate_fn=only)

    def train_dataloader(self) -> DataLoader:
        made = self.batches("train", int(torch.initial_seed() % 2**31))
        return ResumableLoader(
            made,
            batch_size=1,
            sampler=Draws(len(made)),
            collate_fn=only,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def val_dataloader(self) -> DataLoader:
        return self.loader("validation")

    def test_dataloader(self) -> DataLoader:
        return self.loader("test")

    def predict_dataloader(self) -> DataLoader:
        return self.loader("all")

    def describe(self) -> str:
        """Names and sizes for the first line of a run."""
        graph, parts = self.nodes.graph, self.parts
        sizes = ", ".join(f"{name} {len(ids):,}" for name, ids in parts._asdict().items())
        return (
            f"{self.label}, {graph.nodes:,} nodes, {graph.edges:,} edges, {self.width} features, "
            f"{self.nodes.tasks} classes; {sizes}"
        )


def only(batches: list[Batch]) -> Batch:
    """A loader collects lists; a batch of ours is whole already."""
    return batches[0]
