"""Features of nodes: rows for a batch out of arrays in memory, in a file or sparse; and what is wrong with them."""

__all__ = ["beside", "check_features", "normalise_rows", "take"]

import sys
import threading

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from apps.graph.sampling.kernels import gather
from core.errors import UserError
from core.ops.csr import Csr

from .items import Features, SparseRows

CHUNK = 1 << 16
# Rows of another type that are converted at a time, while the processor still holds them.
STEP = 1 << 11
# Batches whose memory is kept for others.
BUFFERS = 4


def take(features: Features, ids: NDArray[np.int64] | None = None) -> Tensor | SparseRows:
    """Rows in float32; all of them by default, sharing memory where they are float32 already.

    Args:
        features: (N, F).
        ids: (n,) in range.
    """
    if isinstance(features, csr_array):
        rows = features if ids is None else features[ids]
        columns = torch.from_numpy(rows.indices.astype(np.int32))
        offsets = torch.from_numpy(rows.indptr.astype(np.int64))
        return SparseRows(Csr(offsets, columns, rows.shape[1]), torch.from_numpy(rows.data.astype(np.float32)))
    if ids is None:
        return torch.from_numpy(np.array(features, np.float32, copy=None if features.flags.writeable else True))
    out = _buffer(len(ids), features.shape[1])
    if features.dtype == np.float32:
        gather(features, np.ascontiguousarray(ids, np.int64), out)
    else:
        for n in range(0, len(ids), STEP):
            out[n : n + STEP] = features[ids[n : n + STEP]]
    return torch.from_numpy(out)


def beside(x: Tensor | SparseRows, encoding: Tensor | None) -> Tensor | SparseRows:
    """Features (n, F) and encodings (n, P) in one row each; sparse features stay sparse."""
    if encoding is None:
        return x
    if isinstance(x, Tensor):
        return torch.cat([x, encoding], 1)
    wide = encoding.shape[1]
    offsets = x.csr.offsets + wide * torch.arange(len(x.csr.offsets))
    new = (offsets[1:, None] - wide + torch.arange(wide)).flatten()
    old = torch.ones(int(offsets[-1]), dtype=torch.bool)
    old[new] = False
    columns = torch.empty(len(old), dtype=x.csr.columns.dtype)
    values = torch.empty(len(old))
    columns[old], values[old] = x.csr.columns, x.values
    columns[new] = (x.csr.width + torch.arange(wide)).repeat(len(encoding)).to(columns.dtype)
    values[new] = encoding.flatten()
    return SparseRows(Csr(offsets, columns, x.csr.width + wide), values)


_buffers: dict[int, list[NDArray[np.float32]]] = {}


def _buffer(rows: int, width: int) -> NDArray[np.float32]:
    """(rows, width) to write to.

    Memory of a batch that nobody holds any more is written again: the system clears fresh pages, which takes twice as
    long as gathering the rows.
    """
    kept = _buffers.setdefault(threading.get_ident(), [])
    size = rows * width
    for n in range(len(kept)):
        # The list and the call itself; a tensor or an array of a batch would be one more.
        if len(kept[n]) >= size and sys.getrefcount(kept[n]) == 2:
            return kept[n][:size].reshape(rows, width)
    fresh = np.empty(size + size // 8, np.float32)
    held = [buffer for buffer in kept if sys.getrefcount(buffer) > 3]
    kept[:] = [*held[-BUFFERS + 1 :], fresh]
    return fresh[:size].reshape(rows, width)


def normalise_rows(features: Features) -> Features:
    """Every row divided by the sum of its absolute values; rows of zeros stay."""
    if isinstance(features, csr_array):
        sums = np.abs(features).sum(1)
        values = features.data / np.repeat(np.maximum(sums, np.finfo(np.float32).tiny), np.diff(features.indptr))
        return csr_array((values.astype(np.float32), features.indices, features.indptr), shape=features.shape)
    sums = np.abs(features).sum(1, keepdims=True, dtype=np.float32)
    return (features / np.where(sums > 0, sums, 1)).astype(np.float32)


def check_features(features: Features, nodes: int, where: str) -> None:
    """Raises UserError for another number of rows, or numbers that are not finite."""
    if features.ndim != 2 or features.shape[0] != nodes:
        raise UserError(f"{where}: features are {features.shape}, there are {nodes} nodes; give a row to each.")
    if isinstance(features, csr_array):
        rows = np.nonzero(~np.isfinite(features.data))[0]
        bad = np.unique(np.searchsorted(features.indptr, rows, side="right") - 1)
    else:
        if not np.issubdtype(features.dtype, np.floating):
            raise UserError(f"{where}: features are {features.dtype}; write them as float32.")
        chunks = range(0, nodes, CHUNK)
        bad = np.concatenate(
            [np.zeros(0, np.int64)] + [n + np.nonzero(~np.isfinite(features[n : n + CHUNK]).all(1))[0] for n in chunks]
        )
    if len(bad):
        raise UserError(
            f"{where}: features of {len(bad)} nodes are NaN or infinite, first those of node {bad[0]}; replace them."
        )
