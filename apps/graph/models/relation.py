"""What a layer needs to know of a graph, and linear layers of dense and of sparse features.

A layer maps x (M, C), a row for each column of its relation, to (R, C'), a row for each of its rows. Row i is also
column `first` + i: all nodes (R = M), the seeds of drawn neighbours (the first R), or a slice for inference layer by
layer. The same layers serve the three and say the same, for everything that goes beyond the edges at hand, degrees
above all, belongs to the whole graph.
"""

__all__ = ["Graphs", "Relation", "dropped", "layers_of", "linear", "relations", "sliced"]

from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional as F

from apps.graph.data.items import Batch, SparseRows
from core.ops.csr import Csr, csr_sum


class Relation:
    """Edges into R nodes from M, with what the whole graph says of these.

    Args:
        csr: R rows over M columns.
        degrees: (M,) edges into the node of each column in the whole graph; those of `csr`, which is then whole, by
            default.
        first: column of the first row.
        looped: whether every node of the whole graph has an edge to itself; None looks, in a whole graph.
    """

    def __init__(self, csr: Csr, degrees: Tensor | None = None, first: int = 0, looped: bool | None = None) -> None:
        if degrees is None and csr.rows != csr.width:
            raise ValueError(f"Relation: {csr} is part of a graph; give the degrees of its columns in the whole")
        self.csr, self.first, self.looped = csr, first, looped
        self.whole = degrees is None
        self.degrees = csr.degrees if degrees is None else degrees
        self._scales: dict[bool, tuple[Tensor, Tensor, Tensor]] = {}
        self._of: tuple[Relation, slice] | None = None

    def own(self, x: Tensor | SparseRows) -> Tensor | SparseRows:
        """The part of x that belongs to the rows."""
        if isinstance(x, SparseRows):
            return _rows(x, self.first, self.csr.rows)
        return x if len(x) == self.csr.rows else x[self.first : self.first + self.csr.rows]

    def part(self, first: int, rows: int) -> "Relation":
        """Some of the rows, over the same columns."""
        made = Relation(_slice(self.csr, first, rows), self.degrees, self.first + first, self.looped)
        made._of = self, slice(first, first + rows)
        return made

    def scales(self, loops: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Of the symmetric normalisation D^-1/2 A D^-1/2 with in-degrees at both ends.

        Args:
            loops: nodes without an edge to themselves get one, which counts.

        Returns:
            In float64: (M,) of the sources, (R,) of the targets (times edges in the whole graph over edges here, so
            that a sum over drawn neighbours is an estimate of that over all), and (R,) of the loops to add: D^-1 or 0.
        """
        if self._of is not None:
            whole, rows = self._of
            source, target, loop = whole.scales(loops)
            return source, target[rows], loop[rows]
        if loops not in self._scales:
            missing = self._missing() if loops else torch.zeros_like(self.degrees)
            degrees = (self.degrees + missing).double()
            source = torch.where(degrees > 0, degrees.clamp(min=1).rsqrt(), 0)
            target, added = self.own(source), self.own(missing)
            assert isinstance(target, Tensor) and isinstance(added, Tensor)
            loop = target.square() * added
            if not self.whole:
                here = self.csr.degrees.clamp(min=1)
                target = target * (self.degrees[self.first : self.first + self.csr.rows] / here)
            self._scales[loops] = source, target, loop
        return self._scales[loops]

    def _missing(self) -> Tensor:
        """(M,) 1 where a node of the whole graph has no edge to itself."""
        if self.looped is not None:
            return torch.zeros_like(self.degrees) if self.looped else torch.ones_like(self.degrees)
        if not self.whole:
            raise ValueError(
                "Relation: a part of a graph does not tell whether nodes have edges to themselves; say so in `looped`"
            )
        rows = self.csr.numbers
        missing = torch.ones_like(self.degrees)
        missing[rows[rows == self.csr.columns]] = 0
        return missing


Graphs = Csr | Relation | Sequence[Relation]

_whole: "WeakKeyDictionary[Csr, Relation]" = WeakKeyDictionary()


def layers_of(
    graph: Graphs,
    depth: int,
    degrees: Tensor | None = None,
    hops: Sequence[int] | None = None,
    looped: bool | None = None,
) -> list[Relation]:
    """A relation for each of `depth` layers.

    Args:
        graph: the relation of all of them, or one each.
        depth: number of layers.
        degrees: (M,) of the whole graph, where `graph` is a part of it.
        hops: nodes that each hop added, the seeds first; layer l = 0, .. makes sum(hops[: depth - l]) nodes.
        looped: whether every node of the whole graph has an edge to itself.

    Raises:
        ValueError: another number of relations, or of hops.
    """
    if isinstance(graph, Csr):
        if degrees is None:
            # What follows from a whole graph is made once: scales and, within, its transpose.
            if graph not in _whole:
                _whole[graph] = Relation(graph, looped=looped)
            return [_whole[graph]] * depth
        if hops is None:
            return [Relation(graph, degrees, looped=looped)] * depth
        if len(hops) != depth + 1:
            raise ValueError(f"layers_of: {len(hops) - 1} hops for {depth} layers; draw one hop a layer")
        relations, width = [], graph.width
        for layer in range(depth):
            rows = sum(hops[: depth - layer])
            own = graph.first(rows)
            relations.append(Relation(Csr(own.offsets, own.columns, width), degrees[:width], looped=looped))
            width = rows
        return relations
    if isinstance(graph, Relation):
        return [graph] * depth
    if len(graph) != depth:
        raise ValueError(f"layers_of: {len(graph)} relations for {depth} layers")
    return list(graph)


def relations(batch: Batch, depth: int) -> list[Relation]:
    """Those of a batch for each of `depth` layers.

    Raises:
        ValueError: neighbours were drawn for another number of layers.
    """
    if batch.whole:
        return layers_of(batch.csr, depth, looped=batch.loops)
    return layers_of(batch.csr, depth, batch.degrees, batch.hops, batch.loops)


def linear(x: Tensor | SparseRows, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b; of sparse features without making them dense."""
    if isinstance(x, Tensor):
        return F.linear(x, weight, bias)
    y = csr_sum(weight.mT, x.csr, x.values.to(weight.dtype))
    return y if bias is None else y + bias


def dropped(x: Tensor | SparseRows, p: float, training: bool) -> Tensor | SparseRows:
    """Dropout; of sparse features their values."""
    if isinstance(x, SparseRows):
        return SparseRows(x.csr, F.dropout(x.values, p, training))
    return F.dropout(x, p, training)


def sliced(layer: Callable[..., Tensor], x: Tensor | SparseRows, relation: Relation, rows: int | None) -> Tensor:
    """One layer, `rows` of its rows at a time where that is asked for: inference layer by layer."""
    if rows is None or rows >= relation.csr.rows:
        return layer(x, relation)
    starts = range(0, relation.csr.rows, rows)
    return torch.cat([layer(x, relation.part(a, min(rows, relation.csr.rows - a))) for a in starts])


def _slice(csr: Csr, first: int, rows: int) -> Csr:
    offsets = csr.offsets[first : first + rows + 1]
    return Csr(offsets - offsets[0], csr.columns[int(offsets[0]) : int(offsets[-1])], csr.width)


def _rows(x: SparseRows, first: int, rows: int) -> SparseRows:
    if first == 0 and rows == x.csr.rows:
        return x
    ends = x.csr.offsets[first], x.csr.offsets[first + rows]
    return SparseRows(_slice(x.csr, first, rows), x.values[int(ends[0]) : int(ends[1])])
