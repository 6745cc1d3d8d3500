"""Values computed from weights alone (a bias gathered from its table, projections packed into one), kept at inference.

A value is kept while its weights stay as they are: the same memory, the same version (every in-place operation counts
it up) and, on a CPU, the same sum, because what is written through `.data` counts nothing up.  Nothing is kept while
gradients are computed or a graph is compiled, nothing is copied, pickled or saved.
"""

__all__ = ["WeightCache"]

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")


class WeightCache:
    """The latest values, each under a key.

    Args:
        size: number of values that are kept.
    """

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self._kept: dict[Hashable, tuple[tuple, list[Tensor], Any]] = {}

    def get(self, key: Hashable, weights: Sequence[Tensor], make: Callable[[], Value]) -> Value:
        """What `make` gives, from the cache where the weights have not changed since.

        Args:
            key: tells values of one cache apart; is kept alive with its value.
            weights: what the value depends on.
            make: computes it.
        """
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or not all(map(_plain, weights)):
            return make()
        marks = tuple(map(_mark, weights))
        found = self._kept.pop(key, None)
        if found is None or found[0] != marks:
            # Holding the weights keeps their memory from being given to others, so an address means what it did.
            found = (marks, [w.detach() for w in weights], make())
            while len(self._kept) >= self.size:
                self._kept.pop(next(iter(self._kept)))
        self._kept[key] = found
        return found[2]

    def clear(self) -> None:
        """Forget everything; `train()` and `eval()` of the owner call it."""
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def __deepcopy__(self, memo: dict) -> "WeightCache":
        return WeightCache(self.size)

    def __reduce__(self) -> tuple:
        return WeightCache, (self.size,)


def _plain(weight: Tensor) -> bool:
    """Not a stand-in of a transformation or tracer, which has no memory of its own."""
    return type(weight) in (Tensor, torch.nn.Parameter)


def _mark(weight: Tensor) -> tuple:
    total = float(weight.detach().sum()) if weight.device.type == "cpu" else 0.0
    version = 0 if weight.is_inference() else weight._version
    # NaN differs from itself: a value of broken weights is computed each time.
    return weight.data_ptr(), version, weight.dtype, total
