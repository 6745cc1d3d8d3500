"""`python -m benchmarks [core] [timeseries] [superres] [backbones] [audio] [pointcloud] [graph]`: ratios as tables.

`graph_large` takes minutes and 12 GiB and is run by name only. Ends with 1 where a demand is not reached.
"""

import argparse
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from benchmarks import (
    audio,
    backbones,
    core_ops,
    graph,
    graph_large,
    pointcloud,
    pointcloud_boxes,
    pointcloud_windows,
    restoration,
    segmentation,
    superres,
    timeseries,
)
from benchmarks.harness import Ratio, single_thread

SUITES = {
    "core": core_ops.GROUPS,
    "timeseries": timeseries.GROUPS,
    "superres": superres.GROUPS | restoration.GROUPS,
    "backbones": backbones.GROUPS,
    "audio": audio.GROUPS,
    "pointcloud": pointcloud.GROUPS | pointcloud_windows.GROUPS | pointcloud_boxes.GROUPS,
    "segmentation": segmentation.GROUPS,
    "graph": graph.GROUPS,
    "graph_large": graph_large.GROUPS,
}
BY_NAME = {"graph_large"}


def hardware() -> str:
    """The processor, and what torch uses of it."""
    described = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    facts = dict(line.split(":", 1) for line in described.split("\n\n")[0].splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    name = facts.get("model name") or platform.processor() or platform.machine()
    if "model" in facts:
        name += f" (family {facts.get('cpu family')}, model {facts['model']})"
    return (
        f"{name}, {os.cpu_count()} cores, one thread used, {torch.backends.cpu.get_cpu_capability()}, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )


def table(title: str, rows: Iterable[tuple[str, Ratio, float | None]]) -> list[str]:
    """Prints the rows as they come; returns the names of those below their demand."""
    short, begun = [], False
    for name, ratio, demand in rows:
        if not begun:
            print(f"### {title}\n\n| ours: peer | demanded | reached | middle half | |\n|---|---|---|---|---|")
            begun = True
        missed = demand is not None and ratio.median < demand
        verdict = "" if demand is None else "short" if missed else "ok"
        wanted = "" if demand is None else f"{demand:.2f}"
        print(
            f"| {name} | {wanted} | {ratio.median:.2f} | {ratio.low:.2f} to {ratio.high:.2f} | {verdict} |", flush=True
        )
        if missed:
            short.append(name)
    if begun:
        print()
    return short


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Ours beside its peers in one process.")
    parser.add_argument(
        "suites", nargs="*", metavar="suite", help=f"of {', '.join(SUITES)}; all but the last by default"
    )
    parser.add_argument("--repeats", type=int, default=15, help="turns of each comparison")
    options = parser.parse_args(arguments)
    if unknown := set(options.suites) - set(SUITES):
        parser.error(f"there is no suite {', '.join(sorted(unknown))}; choose of {', '.join(SUITES)}")
    if options.repeats < 1:
        parser.error(f"--repeats {options.repeats} must be at least 1")
    torch.manual_seed(0)
    print(f"{hardware()}.\nCPU time of the peer over that of ours, median of {options.repeats} turns.\n")
    short = []
    with single_thread():
        for suite in options.suites or [name for name in SUITES if name not in BY_NAME]:
            for name, run in SUITES[suite].items():
                short += table(f"{suite}: {name.replace('_', ' ')}", run(options.repeats))
    print(f"{len(short)} short of what is demanded" + "".join(f"\n- {name}" for name in short))
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
