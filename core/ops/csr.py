"""Sums over the edges of a relation in compressed rows (CSR): graph aggregation without a copy of x for every edge.

    sum   y_i = sum_{e in row i} w_e x_{j(e)}
    mean  y_i = (1 / d_i) sum_{e in row i} x_{j(e)}, 0 where d_i = 0

Shapes: x (M, C) or (M, H, D), weights (E,) or (E, H) -> (R, C) or (R, H, D). In a graph R = M = number of nodes, row i
lists the edges INTO i, columns are their sources; in a sampled graph there are fewer rows than columns.

The gradient with respect to x is the same sum over the transposed relation, which is made once and kept with it; that
with respect to weights is a product per edge. Nothing of size (E, C) exists, forward or backward, but where neither
numba nor torch's sparse product serves (weights by heads without numba), and there only for a moment.

On a CPU the loops are compiled by numba where it is installed (1 M edges, 128 channels, one thread: 0.6 to 0.9 times
the time of torch's sparse product, a fifth to a twentieth of gather and index_add); otherwise and on other devices it
is torch.sparse. Sums run in float32 at least.
"""

__all__ = ["Csr", "csr_mean", "csr_sum", "csr_sum_reference", "loops"]

from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor


@cache
def _kernels() -> ModuleType | None:
    if find_spec("numba") is None:
        return None
    from core.ops import csr_kernels

    return csr_kernels


def loops(x: Tensor) -> ModuleType | None:
    """The compiled loops, where they serve for x."""
    return _kernels() if x.device.type == "cpu" else None


class Csr:
    """Which columns each row of a relation has.

    Not a tensor subclass: three facts and what follows from them, computed when it is first asked for and kept.

    Args:
        offsets: (R + 1,) int64, where the edges of each row begin; the last entry is E.
        columns: (E,) int32 or int64, the column of each edge.
        width: number of columns M.
        symmetric: promise that the relation is its own transpose and columns rise within each row; saves the memory of
            the transposed one.
    """

    def __init__(self, offsets: Tensor, columns: Tensor, width: int, symmetric: bool = False):
        if offsets.dtype != torch.int64 or columns.dtype not in (torch.int32, torch.int64):
            raise ValueError(
                f"Csr: offsets are {offsets.dtype} and columns {columns.dtype}; make them int64, columns may be int32."
            )
        self.offsets, self.columns, self.width, self.symmetric = offsets, columns, width, symmetric
        self._checked = False
        self._transposed: tuple[Csr, Tensor] | None = None
        self._numbers: Tensor | None = None
        self._sparse: dict[torch.dtype, Tensor] = {}

    @classmethod
    def of(cls, edges: Tensor, rows: int, width: int | None = None) -> tuple["Csr", Tensor]:
        """The relation of edges (2, E) int64, sources above targets as PyG has them, and their new order (E,).

        The edges of a row keep their order: value e of the relation is that of edge `order[e]`.

        Args:
            edges: (2, E).
            rows: number of targets R.
            width: number of sources M, by default R.

        Raises:
            ValueError: an edge is out of range.
        """
        width = rows if width is None else width
        if edges.dim() != 2 or edges.shape[0] != 2 or edges.dtype not in (torch.int32, torch.int64):
            raise ValueError(
                f"Csr: edges are {tuple(edges.shape)} {edges.dtype}; they must be whole numbers of shape (2, E)."
            )
        source, target = edges
        order = torch.argsort(target, stable=True)
        counts = torch.bincount(target.clamp(0, max(rows - 1, 0)), minlength=rows) if rows else target.new_zeros(0)
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).long()
        made = cls(offsets, source.index_select(0, order), width)
        if target.numel() and (int(target.min()) < 0 or int(target.max()) >= rows):
            raise ValueError(f"Csr: targets lie in {int(target.min())} .. {int(target.max())}, there are {rows} rows.")
        made.check()
        return made, order

    @property
    def rows(self) -> int:
        """R."""
        return len(self.offsets) - 1

    @property
    def edges(self) -> int:
        """E."""
        return len(self.columns)

    @property
    def degrees(self) -> Tensor:
        """(R,) edges of each row."""
        return self.offsets.diff()

    @property
    def numbers(self) -> Tensor:
        """(E,) int64 row of each edge, kept."""
        if self._numbers is None:
            rows = torch.arange(self.rows, device=self.offsets.device)
            self._numbers = torch.repeat_interleave(rows, self.degrees, output_size=self.edges)
        return self._numbers

    @property
    def transposed(self) -> "Csr":
        """The relation of columns to rows, kept."""
        return self if self.symmetric else self._turned()[0]

    @property
    def order(self) -> Tensor:
        """(E,) place among the edges of each edge of the transposed relation, kept."""
        return self._turned()[1]

    def _turned(self) -> tuple["Csr", Tensor]:
        if self._transposed is None:
            few = max(self.edges, self.rows) < 2**31
            compiled = loops(self.columns)
            if compiled:
                self.ensure()
                starts = torch.zeros(self.width + 1, dtype=torch.int64)
                rows, order = (torch.empty(self.edges, dtype=torch.int32 if few else torch.int64) for _ in range(2))
                compiled.transpose(*(t.numpy() for t in (self.offsets, self.columns, starts, rows, order)))
            else:
                order = torch.argsort(self.columns, stable=True)
                rows = self.numbers.index_select(0, order)
                counts = torch.bincount(self.columns, minlength=self.width)
                starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
                if few:
                    rows, order = rows.int(), order.int()
            other = self if self.symmetric else Csr(starts, rows, self.rows)
            other._checked = self._checked
            self._transposed = other, order
        return self._transposed

    def first(self, rows: int) -> "Csr":
        """The first rows of the relation, all its columns."""
        offsets = self.offsets[: rows + 1]
        part = Csr(offsets, self.columns[: int(offsets[-1])], self.width)
        part._checked = self._checked
        return part

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Csr":
        """On another device; what has been kept is made anew there."""
        if torch.device(device) == self.offsets.device:
            return self
        offsets, columns = (t.to(device, non_blocking=non_blocking) for t in (self.offsets, self.columns))
        return Csr(offsets, columns, self.width, self.symmetric)

    def check(self) -> None:
        """Raises ValueError unless offsets rise from 0 to E and columns are below M."""
        ends = self.offsets
        if (
            not len(ends)
            or int(ends[0])
            or int(ends[-1]) != self.edges
            or (len(ends) > 1 and int(ends.diff().min()) < 0)
        ):
            raise ValueError(f"Csr: offsets must rise from 0 to the number of columns, {self.edges}.")
        if self.edges and (int(self.columns.min()) < 0 or int(self.columns.max()) >= self.width):
            low, high = int(self.columns.min()), int(self.columns.max())
            raise ValueError(f"Csr: columns lie in {low} .. {high}, they must be in 0 .. {self.width - 1}.")

    def ensure(self) -> None:
        """`check`, the first time: compiled loops read whatever they are told to."""
        if not self._checked:
            self.check()
            self._checked = True

    def sparse(self, dtype: torch.dtype) -> Tensor:
        """Ones at the edges, (R, M) for torch's sparse product, kept."""
        if dtype not in self._sparse:
            ones = torch.ones(self.edges, dtype=dtype, device=self.columns.device)
            self._sparse[dtype] = self.weighted(ones)
        return self._sparse[dtype]

    def weighted(self, values: Tensor) -> Tensor:
        """`values` (E,) at the edges, (R, M)."""
        offsets = self.offsets.to(self.columns.dtype)
        size = (self.rows, self.width)
        return torch.sparse_csr_tensor(offsets, self.columns, values, size, check_invariants=False)

    def __repr__(self) -> str:
        return f"Csr({self.rows} x {self.width}, {self.edges} edges)"


@torch.compiler.disable
def csr_sum(x: Tensor, csr: Csr, weights: Tensor | None = None) -> Tensor:
    """Sum over the edges of each row; 0 where a row has none.

    Args:
        x: (M, C), or (M, H, D) with weights by heads.
        csr: R rows over M columns.
        weights: (E,), or (E, H), of the edges.

    Raises:
        ValueError: x or weights do not belong to `csr`.
    """
    if len(x) != csr.width:
        raise ValueError(f"csr_sum: x has {len(x)} rows, the relation {csr.width} columns; they must be equal.")
    dtype = torch.promote_types(x.dtype, torch.float32)
    if weights is None:
        flat = x.reshape(len(x), x.shape[1:].numel()).to(dtype).contiguous()
        return _Sum.apply(flat, csr).view(csr.rows, *x.shape[1:]).to(x.dtype)
    if len(weights) != csr.edges or weights.dim() not in (1, 2) or (weights.dim() == 2 and x.dim() < 3):
        raise ValueError(
            f"csr_sum: weights are {tuple(weights.shape)} and x {tuple(x.shape)}; {csr.edges} edges need weights "
            "(E,), or (E, H) with x (M, H, D)."
        )
    heads = 1 if weights.dim() == 1 else weights.shape[1]
    shaped = x.reshape(len(x), heads, x.shape[1:].numel() // heads).to(dtype).contiguous()
    made = _WeightedSum.apply(shaped, weights.reshape(csr.edges, heads).to(dtype).contiguous(), csr)
    return made.view(csr.rows, *x.shape[1:]).to(x.dtype)


def csr_mean(x: Tensor, csr: Csr) -> Tensor:
    """Mean over the edges of each row; 0 where a row has none.

    Args:
        x: (M, ...).
        csr: R rows over M columns.
    """
    share = 1 / csr.degrees.clamp(min=1).to(torch.promote_types(x.dtype, torch.float32))
    return csr_sum(x, csr) * share.to(x.dtype).view(-1, *[1] * (x.dim() - 1))


def csr_sum_reference(x: Tensor, csr: Csr, weights: Tensor | None = None) -> Tensor:
    """A copy of x for every edge, added up."""
    parts = x.index_select(0, csr.columns)
    if weights is not None:
        parts = parts * weights.view(*weights.shape, *[1] * (x.dim() - weights.dim()))
    return x.new_zeros(csr.rows, *x.shape[1:]).index_add(0, csr.numbers, parts)


def add_up(x: Tensor, csr: Csr) -> Tensor:
    """x (M, C) -> (R, C), without gradients."""
    compiled = loops(x)
    if compiled is None:
        return csr.sparse(x.dtype) @ x
    csr.ensure()
    y = x.new_empty(csr.rows, x.shape[1])
    compiled.spread(compiled.sums, *_numpy(csr.offsets), x.shape[1], *_numpy(csr.columns, x, y))
    return y


def _add_weighted(x: Tensor, weights: Tensor, csr: Csr, order: Tensor | None) -> Tensor:
    """x (M, H, D) and weights (E, H), the weight of edge e at order[e] -> (R, H, D), without gradients."""
    compiled = loops(x)
    if compiled:
        csr.ensure()
        if order is None:
            order = torch.arange(csr.edges, dtype=torch.int32 if csr.edges < 2**31 else torch.int64)
        y = x.new_empty(csr.rows, *x.shape[1:])
        arrays = _numpy(csr.columns, order, weights, x, y)
        compiled.spread(compiled.weighted_sums, *_numpy(csr.offsets), x[0].numel() if len(x) else 0, *arrays)
        return y
    own = weights if order is None else weights.index_select(0, order)
    if x.shape[1] == 1:
        return (csr.weighted(own[:, 0].contiguous()) @ x[:, 0])[:, None]
    return csr_sum_reference(x, csr, own)


def _dots(x: Tensor, y: Tensor, csr: Csr) -> Tensor:
    """x (M, H, D) . y (R, H, D) at each edge, (E, H), without gradients."""
    compiled = loops(x)
    if compiled is None:
        return (x.index_select(0, csr.columns) * y.index_select(0, csr.numbers)).sum(-1)
    z = x.new_empty(csr.edges, x.shape[1])
    compiled.spread(compiled.dots, *_numpy(csr.offsets), x.shape[1] * x.shape[2], *_numpy(csr.columns, x, y, z))
    return z


def _numpy(*tensors: Tensor) -> list[Any]:
    return [t.detach().numpy() for t in tensors]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, csr: Csr) -> Tensor:
        ctx.csr = csr
        return add_up(x, csr)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return add_up(gradient.contiguous(), ctx.csr.transposed), None


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, csr: Csr) -> Tensor:
        ctx.csr = csr
        ctx.save_for_backward(x, weights)
        return _add_weighted(x, weights, csr, None)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weights = ctx.saved_tensors
        csr, gradient = ctx.csr, gradient.contiguous()
        of_x = _add_weighted(gradient, weights, csr.transposed, csr.order) if ctx.needs_input_grad[0] else None
        return of_x, _dots(x, gradient, csr) if ctx.needs_input_grad[1] else None, None
