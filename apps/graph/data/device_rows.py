"""Tokens whose features stay on the accelerator: a batch brings ids, and rows are gathered where it goes.

For graphs whose spread features fit there (ogbn-products: 3 GB).  What crosses the bus is then an integer a token
instead of three rows.
"""

__all__ = ["DeviceRows", "ElsewhereTokens"]

from itertools import count
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .items import Tokens

_numbers = count()
_known: "WeakValueDictionary[int, DeviceRows]" = WeakValueDictionary()


class DeviceRows:
    """An array of which every device that asks gets a copy, once.

    A pickled one is a reference: batches of loader processes carry it back to the process that has the rows, and hold
    none themselves.

    Args:
        rows: (N, ...) float32, may be memory-mapped.
    """

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self.rows, self.number = rows, next(_numbers)
        self._on: dict[torch.device, Tensor] = {}
        _known[self.number] = self

    def on(self, device: torch.device | str) -> Tensor:
        """All of them there."""
        device = torch.device(device)
        if device not in self._on:
            self._on[device] = torch.from_numpy(np.array(self.rows)).to(device)
        return self._on[device]

    def __reduce__(self):
        return _find, (self.number,)


def _find(number: int) -> DeviceRows:
    if number in _known:
        return _known[number]
    made = DeviceRows.__new__(DeviceRows)
    made.rows, made.number, made._on = np.empty(0, np.float32), number, {}
    return made


class ElsewhereTokens(Tokens):
    """`features` are (U,) ids; `to` turns them into rows of `source` on the device it names."""

    source: DeviceRows

    @classmethod
    def of(cls, ids: Tensor, index: Tensor, counts: Tensor, source: DeviceRows) -> "ElsewhereTokens":
        """Of the U nodes that occur."""
        made = cls(ids, index, counts)
        made.source = source
        return made

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Tokens:
        """With their features, gathered there."""
        ids, index, counts = (part.to(device, non_blocking=non_blocking) for part in self)
        return Tokens(self.source.on(device)[ids], index, counts)
