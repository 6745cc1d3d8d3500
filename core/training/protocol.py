"""The command line that protocols over seeds and splits share: recipes, seeds, settings, threads, a folder."""

__all__ = ["FOLDER", "command", "numbers"]

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence

import torch

from core.errors import UserError
from core.training.report import Table
from core.training.results import render

FOLDER = "runs/protocols"


def command(
    module: str,
    text: str,
    compare: Callable[[argparse.Namespace, str], Table],
    arguments: Sequence[str],
    ranges: Sequence[str] = ("--seeds",),
) -> int:
    """Prints the table that `compare` makes of the options and the line that was typed.

    Args:
        module: that `python -m` runs.
        text: its docstring.
        compare: makes the table.
        arguments: of the command line.
        ranges: options such as --seeds 0-9, all 0 by default; every one is run with every other.

    Returns:
        The exit code: 0 done, 2 something to mend.
    """
    line = shlex.join(["python", "-m", module, *arguments])
    parser = argparse.ArgumentParser(
        f"python -m {module}",
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="shipped recipes or YAML files")
    for name in ranges:
        parser.add_argument(name, default="0", help="for example 0-9 or 0,3,5")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="changes all recipes")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--folder", default=FOLDER, help="where runs are kept")
    options = parser.parse_args(arguments)
    try:
        torch.set_num_threads(options.threads)
        table = compare(options, line)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n" + render(table))
    return 0


def numbers(option: str, text: str) -> list[int]:
    """`0-3,7` as [0, 1, 2, 3, 7].

    Raises:
        UserError: the option is something else.
    """
    found: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    except ValueError:
        raise UserError(f"{option} {text}: whole numbers, for example 0-9 or 0,3,5.") from None
    return found
