"""The command `omnimix`: what there is, in a moment; everything heavy is imported by the command that needs it.

`omnimix`, `omnimix recipes`, `omnimix DOMAIN` and their `--help` read file names, docstrings and recipe heads only.
A domain's own commands are in its `cli.py`, which offers `main(arguments)`.
"""

__all__ = ["main"]

import ast
import importlib
import signal
import sys
from pathlib import Path

from core.errors import UserError, nearest
from core.training.recipes import domains, module_of, recipes

COMMANDS = {
    "fit": "train",
    "validate": "losses and metrics on the validation part",
    "test": "the same on the test part",
    "evaluate": "the published protocols: tables, baselines, report",
    "predict": "your own files in, your own files out",
}


def main(arguments: list[str] | None = None) -> None:
    """Runs one command and exits: 0 done, 1 a check failed, 2 something to mend, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        code = run(arguments)
    except UserError as error:
        if debug:
            raise
        print(error, file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # the reader (head, less) has seen enough
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        code = 0
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """The exit code of one command."""
    known = domains()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview(known))
        return 0
    first, rest = arguments[0], arguments[1:]
    if first == "--version":
        from importlib.metadata import version

        print(version("omnimix"))
        return 0
    if first == "recipes":
        if rest and rest[0] not in known and not rest[0].startswith("-"):
            raise UserError(f"omnimix recipes {rest[0]}: no such domain.{nearest(rest[0], known)}")
        print(table(rest[0] if rest and rest[0] in known else None))
        return 0
    if first == "verify":
        from core.training.verification import main as verify

        return verify(rest)
    if first == "core":
        from core.training.catalogue import main as catalogue

        return catalogue(rest)
    if first not in known:
        raise UserError(f"omnimix {first}: no such command or domain.{nearest(first, [*known, 'recipes', 'verify'])}")
    if not rest or rest[0] in ("-h", "--help"):
        print(domain_help(first, known[first]))
        return 0
    if rest[0] not in COMMANDS:
        raise UserError(f"omnimix {first} {rest[0]}: no such command.{nearest(rest[0], COMMANDS)}")
    from core.training.allocator import keep_freed_memory

    keep_freed_memory()
    return importlib.import_module(f"{module_of(known[first])}.cli").main(rest) or 0


def overview(known: dict[str, Path]) -> str:
    """The answer to a bare `omnimix`."""
    lines = ["Omnimix: token mixers, and the applications that train with them.", "", "Domains:"]
    lines += [f"  {name:<14}{_summary(folder)}" for name, folder in known.items()]
    quick = next((r for r in recipes() if r.name.endswith("_quick")), None)
    lines += [
        "",
        "Commands:",
        "  omnimix recipes [DOMAIN]      shipped configurations with cost and result",
        "  omnimix DOMAIN                what a domain can do",
        "  omnimix DOMAIN COMMAND --help",
        "  omnimix verify FILE...        our models against files of official results",
        "  omnimix core list|bench       the mixers, and how fast they are here",
    ]
    if quick:
        lines += [
            "",
            "Try first:",
            f"  omnimix {quick.domain} fit --config {quick.name}",
            f"  omnimix {quick.domain} evaluate --config {quick.name} --ckpt_path best",
        ]
    return "\n".join(lines)


def domain_help(name: str, folder: Path) -> str:
    """The answer to `omnimix DOMAIN`."""
    lines = [_summary(folder), "", "Commands:"]
    lines += [f"  omnimix {name} {command:<10}{what}" for command, what in COMMANDS.items()]
    shipped = recipes(name)
    lines += ["", "Recipes (--config NAME):"]
    lines += [f"  {recipe.name:<26}{recipe.summary}" for recipe in shipped]
    if shipped:
        lines += [
            "",
            "Examples:",
            f"  omnimix {name} fit --config {shipped[0].name}",
            f"  omnimix {name} evaluate --config {shipped[0].name} --ckpt_path best",
            "",
            f"All options: omnimix {name} fit --help",
        ]
    return "\n".join(lines)


def table(domain: str | None) -> str:
    """Recipes with what they cost and give."""
    rows: list[tuple[str, ...]] = [("recipe", "model", "data", "cost", "published", "measured")]
    keys = rows[0][1:]
    rows += [(f"{r.domain} {r.name}", *(r.facts.get(key, "-") for key in keys)) for r in recipes(domain)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _summary(folder: Path) -> str:
    """First line of a package's docstring, read without importing it."""
    source = (folder / "__init__.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").split("\n")[0]
