"""Ours beside the peer, in one process and in turns, so that load and clock hit both alike; only ratios are reported.

Times are CPU time of this process (another program on the same core does not count), medians over the turns. A ratio
of 2 means that the peer takes twice as long.
"""

__all__ = ["Ratio", "compare", "report", "single_thread", "train"]

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor


class Ratio(NamedTuple):
    """How many times as long the peer takes: median of the turns, and the middle half of them."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:6.2f}x  ({self.low:.2f} to {self.high:.2f})"


def compare(ours: Callable[[], object], peer: Callable[[], object], repeats: int = 15) -> Ratio:
    """The ratio of CPU times over alternating turns, after one turn each to warm up.

    Args:
        ours, peer: what to time; each is called often enough in a turn to take some milliseconds.
        repeats: number of turns.
    """
    counts = []
    for run in (ours, peer):
        run()
        once = max(_time(run, 1), 1e-6)
        counts.append(max(1, min(50, round(0.01 / once))))
    turns = []
    for turn in range(repeats):
        pair = [(ours, counts[0]), (peer, counts[1])]
        # Whoever goes first finds the caches in another state, so the order alternates too.
        times = {run: _time(run, count) / count for run, count in (pair if turn % 2 else pair[::-1])}
        turns.append(times[peer] / times[ours])
    quarters = statistics.quantiles(turns, n=4) if len(turns) > 1 else [turns[0]] * 3
    return Ratio(statistics.median(turns), quarters[0], quarters[2])


def train(forward: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], None]:
    """Forward and backward as one call; inputs that want gradients get them afresh each time."""

    def run() -> None:
        wanted = [t for t in inputs if t.requires_grad]
        out = forward(*inputs)
        torch.autograd.grad(out, wanted, torch.ones_like(out))

    return run


def report(title: str, rows: Iterable[tuple[str, Ratio, float | None]]) -> list[str]:
    """Print a table of (name, ratio, smallest ratio demanded); returns the names that fall short."""
    print(f"{title}\n{'-' * len(title)}")
    short = []
    for name, ratio, demand in rows:
        verdict = "" if demand is None else f"  demanded {demand:.2f}: {'ok' if ratio.median >= demand else 'SHORT'}"
        print(f"{name:<52} {ratio}{verdict}", flush=True)
        if demand is not None and ratio.median < demand:
            short.append(name)
    print()
    return short


@contextmanager
def single_thread() -> Iterator[None]:
    """One thread for both sides, restored at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _time(run: Callable[[], object], count: int) -> float:
    start = time.process_time()
    for _ in range(count):
        run()
    return time.process_time() - start
