"""Ways to cut a graph into the batches of an epoch; the data module is given one as an object.

    FullBatch     the whole graph, every node of the part predicted at once
    Neighbourhoods  drawn neighbours of some nodes (GraphSAGE)
    EgoBatches    a graph of its own for each of some nodes (ShaDow)
    RandomParts   nodes at random, all edges among them (SGFormer, Polynormer)
    Clusters      some of many clusters, all edges among them (Cluster-GCN)

Each makes a data set of numbered batches: batch n is a function of (seed, n) alone, `count` of them are an epoch. In
order (validation and test) the numbers 0 .. count - 1 go through the nodes as they come.
"""

__all__ = ["Batches", "Clusters", "EgoBatches", "FullBatch", "Loading", "Neighbourhoods", "RandomParts"]

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from apps.graph.sampling.clusters import partition
from apps.graph.sampling.neighbours import Neighbours
from apps.graph.sampling.parts import EgoGraphs, Part, induced
from core.errors import UserError
from core.ops.csr import Csr
from core.training.draws import generator

from .features import beside, take
from .items import Batch, NodeSet

Ids = NDArray[np.int64]


class Batches(Dataset[Batch]):
    """Base class: numbered batches of some nodes.

    Args:
        nodes: the set.
        encoding: (N, P), or None.
        targets: ids that are predicted.
        size: of them in a batch.
        seed: of the order and of all draws.
        shuffle: a new order every epoch; otherwise as they come.
    """

    def __init__(self, nodes: NodeSet, encoding: Tensor | None, targets: Ids, size: int, seed: int, shuffle: bool):
        self.nodes, self.encoding, self.targets, self.size = nodes, encoding, targets, size
        self.seed, self.shuffle = seed, shuffle
        self._order: tuple[int, Ids] = (-1, targets)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.targets), self.size)
        # A norm over the nodes of a batch cannot be trained on one: the last node joins the batch before.
        return whole + (rest > (self.shuffle and whole > 0))

    def order(self, epoch: int) -> Ids:
        """What an epoch goes through."""
        if self.shuffle and self._order[0] != epoch:
            self._order = epoch, generator(self.seed, 2**63 + epoch).permutation(self.targets)
        return self._order[1] if self.shuffle else self.targets

    def of(self, number: int) -> Ids:
        """What batch `number` predicts."""
        epoch, place = divmod(number, len(self))
        last = place == len(self) - 1
        return self.order(epoch)[place * self.size : None if last else (place + 1) * self.size]

    def make(
        self,
        ids: Ids,
        csr: Csr,
        targets: Tensor,
        number: int,
        places: NDArray | None = None,
        hops: tuple[int, ...] | None = None,
        starts: NDArray | None = None,
    ) -> Batch:
        """A batch of nodes `ids` whose edges stand at `places` of the graph."""
        graph, labels = self.nodes.graph, self.nodes.labels
        weights = None if graph.weights is None or places is None else torch.from_numpy(graph.weights[places])
        own = torch.from_numpy(np.ascontiguousarray(ids))
        encoding = None if self.encoding is None else self.encoding[own]
        return Batch(
            beside(take(self.nodes.features, ids), encoding),
            csr,
            targets,
            torch.from_numpy(np.asarray(labels[ids[targets.numpy()]])),
            own,
            torch.from_numpy(graph.offsets[ids + 1] - graph.offsets[ids]),
            weights,
            encoding,
            hops,
            None if starts is None else torch.from_numpy(starts),
            number,
            loops=graph.loops,
        )


class Loading:
    """Base class of what a data module is given."""

    def channels(self, features: int, encoding: int) -> int:
        """Width of the rows of x: encodings stand beside the features."""
        return features + encoding

    def batches(self, nodes: NodeSet, encoding: Tensor | None, targets: Ids, seed: int, shuffle: bool) -> Batches:
        """Batches that predict `targets`; shuffled for training."""
        raise TypeError(f"{type(self).__name__} must define batches")


class FullBatch(Loading):
    """The whole graph in one batch, whose tensors are made once.

    Args:
        steps: of training in an epoch; between epochs there is a validation.
        rows: nodes to compute at a time, layer by layer, for validation and test of graphs whose activations do not
            fit; None for all.
    """

    def __init__(self, steps: int = 1, rows: int | None = None):
        _at_least_one(steps=steps, rows=1 if rows is None else rows)
        self.steps, self.rows = steps, rows

    def batches(self, nodes: NodeSet, encoding: Tensor | None, targets: Ids, seed: int, shuffle: bool) -> Batches:
        return Whole(
            self.steps if shuffle else 1, self.rows, nodes, encoding, targets, max(len(targets), 1), seed, False
        )


class Whole(Batches):
    """The same batch `steps` times."""

    def __init__(self, steps: int, rows: int | None, *args):
        super().__init__(*args)
        nodes, targets = self.nodes, np.asarray(self.targets)
        graph, self.steps = nodes.graph, steps
        self._made = Batch(
            _all_features(_Same(nodes, self.encoding)),
            graph.csr,
            torch.from_numpy(targets),
            torch.from_numpy(np.asarray(nodes.labels[targets])),
            torch.arange(graph.nodes),
            torch.from_numpy(graph.degrees),
            None if graph.weights is None else torch.from_numpy(np.array(graph.weights)),
            self.encoding,
            whole=True,
            loops=graph.loops,
            rows=rows,
        )

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, number: int) -> Batch:
        return self._made


class _Same:
    """A set by its identity, for the cache: train, validation and test of one graph share their features."""

    def __init__(self, nodes: NodeSet, encoding: Tensor | None):
        self.nodes, self.encoding = nodes, encoding

    def __hash__(self) -> int:
        return id(self.nodes.features)

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, _Same) and other.nodes.features is self.nodes.features
        return same and other.encoding is self.encoding  # type: ignore[attr-defined]


@lru_cache(maxsize=1)
def _all_features(same: _Same):
    return beside(take(same.nodes.features), same.encoding)


class Neighbourhoods(Loading):
    """Drawn neighbours of some nodes.

    Args:
        fan_out: edges into a node at each hop, one a layer; -1 takes all.
        batch_size: nodes that are predicted at a time.
        replace: draw with replacement.
        weighted: in proportion to the graph's weights.
        induce: all edges among the nodes drawn instead of those drawn.
    """

    def __init__(
        self,
        fan_out: tuple[int, ...] = (15, 10),
        batch_size: int = 1024,
        replace: bool = False,
        weighted: bool = False,
        induce: bool = False,
    ):
        _at_least_one(batch_size=batch_size)
        self.fan_out, self.batch_size, self.replace = tuple(fan_out), batch_size, replace
        self.weighted, self.induce = weighted, induce

    def batches(self, nodes: NodeSet, encoding: Tensor | None, targets: Ids, seed: int, shuffle: bool) -> Batches:
        return _Drawn(self, nodes, encoding, targets, self.batch_size, seed, shuffle)


class _Drawn(Batches):
    def __init__(self, like: Neighbourhoods, *args):
        super().__init__(*args)
        self.induce = like.induce
        try:
            self.neighbours = Neighbours(self.nodes.graph, like.fan_out, like.replace, like.weighted, seed=self.seed)
        except ValueError as error:
            raise UserError(f"--data.loading: {error}") from None

    def __getitem__(self, number: int) -> Batch:
        seeds = self.of(number)
        drawn = self.neighbours.sample(seeds, number)
        targets = torch.arange(len(seeds))
        if self.induce:
            part = induced(self.nodes.graph, drawn.nodes, slots=self.neighbours.slots())
            return self.make(part.nodes, _relation(part), targets, number, part.places)
        csr = Csr(torch.from_numpy(drawn.offsets), torch.from_numpy(drawn.columns), len(drawn.nodes))
        return self.make(drawn.nodes, csr, targets, number, drawn.places, drawn.hop_nodes)


class EgoBatches(Loading):
    """A graph of its own for each of some nodes.

    Args:
        fan_out: edges into a node at each hop that the graph is drawn by; a network may be deeper.
        batch_size: nodes that are predicted at a time.
    """

    def __init__(self, fan_out: tuple[int, ...] = (10, 5), batch_size: int = 256):
        _at_least_one(batch_size=batch_size)
        self.fan_out, self.batch_size = tuple(fan_out), batch_size

    def batches(self, nodes: NodeSet, encoding: Tensor | None, targets: Ids, seed: int, shuffle: bool) -> Batches:
        return _Egos(self, nodes, encoding, targets, self.batch_size, seed, shuffle)


class _Egos(Batches):
    def __init__(self, like: EgoBatches, *args):
        super().__init__(*args)
        self.egos = EgoGraphs(self.nodes.graph, like.fan_out, self.seed)

    def __getitem__(self, number: int) -> Batch:
        part = self.egos.sample(self.of(number), number)
        targets = torch.from_numpy(part.starts[:-1])
        return self.make(part.nodes, _relation(part), targets, number, part.places, starts=part.starts)


class RandomParts(Loading):
    """All nodes of the graph cut at random, anew every epoch; those of the part are predicted.

    Args:
        size: nodes of a batch.
    """

    def __init__(self, size: int = 100_000):
        _at_least_one(size=size)
        self.size = size

    def batches(self, nodes: NodeSet, encoding: Tensor | None, targets: Ids, seed: int, shuffle: bool) -> Batches:
        return _Parts(nodes, encoding, targets, np.arange(nodes.graph.nodes), self.size, seed, shuffle)


class _Parts(Batches):
    """Items that stand for nodes are cut; a batch is the nodes of its items."""

    def __init__(self, nodes, encoding, targets, items: Ids, size: int, seed: int, shuffle: bool):
        super().__init__(nodes, encoding, items, size, seed, shuffle)
        self.wanted = np.zeros(nodes.graph.nodes, bool)
        self.wanted[targets] = True
        self._slots: NDArray[np.int32] | None = None

    def members(self, items: Ids) -> Ids:
        return items

    def __getitem__(self, number: int) -> Batch:
        ids = np.sort(self.members(self.of(number)))
        if self._slots is None:
            self._slots = np.full(self.nodes.graph.nodes, -1, np.int32)
        part = induced(self.nodes.graph, ids, slots=self._slots)
        targets = torch.from_numpy(np.nonzero(self.wanted[ids])[0])
        return self.make(ids, _relation(part), targets, number, part.places)


class Clusters(Loading):
    """Some of many clusters at a time, others together every epoch.

    Args:
        parts: clusters that the graph is cut into, once.
        together: clusters in a batch.
    """

    def __init__(self, parts: int = 50, together: int = 5):
        _at_least_one(parts=parts, together=together)
        self.parts, self.together = parts, together

    def batches(self, nodes: NodeSet, encoding: Tensor | None, targets: Ids, seed: int, shuffle: bool) -> Batches:
        if self.parts > nodes.graph.nodes:
            raise UserError(f"--data.loading.parts {self.parts}: there are {nodes.graph.nodes} nodes; lower it.")
        labels = partition(nodes.graph, self.parts)
        return _Clustered(labels, nodes, encoding, targets, np.arange(self.parts), self.together, seed, shuffle)


class _Clustered(_Parts):
    def __init__(self, labels: Ids, *args):
        super().__init__(*args)
        order = np.argsort(labels, kind="stable")
        self.clusters = np.split(order, np.cumsum(np.bincount(labels, minlength=int(labels.max()) + 1))[:-1])

    def members(self, items: Ids) -> Ids:
        return np.concatenate([self.clusters[n] for n in items])


def _relation(part: Part) -> Csr:
    return Csr(torch.from_numpy(part.offsets), torch.from_numpy(part.columns), len(part.nodes))


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise UserError(f"--data.loading.{name} {number}: must be at least 1.")
