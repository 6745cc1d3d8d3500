"""`omnimix core list` and `omnimix core bench`: what the mixers can do, and how fast they are on this machine.

What a mixer can do is read from its signature, so the table cannot be out of date.  `bench` gives each mixer's time
beside softmax attention over sequences, and the efficiency length: from how many tokens on it is the faster one
(crossing of the two times, linear between doublings on a logarithmic scale).
"""

__all__ = ["main"]

import argparse
import inspect
import math
import statistics
import time
from typing import Any

import torch

import core.mixers
from core.errors import UserError
from core.mixers import Mixer
from core.mixers.attention import Attention
from core.testing import find_mixers

LENGTHS = (64, 256, 1024, 4096)


def main(arguments: list[str]) -> int:
    """The exit code of `omnimix core ...`."""
    parser = argparse.ArgumentParser("omnimix core", description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["list", "bench"])
    parser.add_argument("--threads", type=int, default=1, help="for bench")
    options = parser.parse_args(arguments)
    if options.threads < 1:
        raise UserError(f"--threads {options.threads}: give at least 1.")
    rows = listing() if options.what == "list" else bench(options.threads)
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def listing() -> list[list[str]]:
    """One row a mixer: masks, contexts, ragged sets, causal order, steps, and its first docstring line."""
    rows = [["mixer", "mask", "context", "ragged", "causal", "step", ""]]
    for mixer in sorted(find_mixers(core.mixers), key=lambda m: m.__name__):
        call, build = inspect.signature(mixer.forward).parameters, inspect.signature(mixer).parameters
        can = [
            "mask" in call,
            "context" in call,
            any(word in str(call["x"].annotation) for word in ("Ragged", "Tokens")),
            "causal" in build or mixer.causal,
            hasattr(mixer, "step"),
        ]
        rows.append([mixer.__name__, *("yes" if c else "-" for c in can), (mixer.__doc__ or "").split("\n")[0]])
    return rows


def bench(threads: int) -> list[list[str]]:
    """Forward and backward on sequences, B 1, dim 128, 4 heads, float32: times as a share of `Attention`'s."""
    torch.set_num_threads(threads)
    mixers = [m for m in find_mixers(core.mixers) if m.__name__ != "Attention"]
    rows = [["mixer", *(f"T {n}" for n in LENGTHS), "faster from"]]
    for mixer in sorted(mixers, key=lambda m: m.__name__):
        shares = []
        for length in LENGTHS:
            made = _built(mixer, length)
            if made is None:
                break
            shares.append(_share(made, Attention(128, 4), length))
        if shares:
            rows.append([mixer.__name__, *(f"{share:.2f}" for share in shares), _crossing(shares)])
    return rows


def _built(mixer: type[Mixer], length: int) -> Mixer | None:
    """The mixer with the benchmark's sizes; None where it needs something a sequence does not say."""
    sizes: dict[str, Any] = {
        "dim": 128,
        "heads": 4,
        "window": (64,),
        "axis": 0,
        "kernel": (7,),
        "grid": (length,),
        "length": length,
        "hidden": 256,
    }
    required = [p.name for p in inspect.signature(mixer).parameters.values() if p.default is p.empty]
    optional = ["kernel"] if "kernel" in inspect.signature(mixer).parameters else []
    if not set(required) <= set(sizes):
        return None
    try:
        return mixer(**{name: sizes[name] for name in {*required, *optional}})
    except (TypeError, ValueError):
        return None


def _share(mixer: Mixer, attention: Mixer, length: int, repeats: int = 7) -> float:
    x = torch.randn(1, length, 128, requires_grad=True)

    def once(module: Mixer) -> float:
        start = time.process_time()
        module(x).sum().backward()
        return time.process_time() - start

    once(mixer), once(attention)
    return statistics.median(once(mixer) / once(attention) for _ in range(repeats))


def _crossing(shares: list[float]) -> str:
    if shares[0] <= 1:
        return f"under {LENGTHS[0]}"
    for n in range(1, len(shares)):
        if shares[n] <= 1:
            a, b = math.log(shares[n - 1]), math.log(shares[n])
            place = a / (a - b)
            return f"{LENGTHS[n - 1] * (LENGTHS[n] / LENGTHS[n - 1]) ** place:.0f}"
    return f"over {LENGTHS[-1]}"
