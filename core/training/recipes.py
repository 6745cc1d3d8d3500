"""Shipped recipes: complete YAML files with a comment head that says what they do, cost and give.

The head is read by people and by `omnimix recipes`: the first comment line is the summary, `# key: value` lines
below it (model, data, cost, published, measured) are its facts.  Nothing here imports more than the standard library.
"""

__all__ = ["Recipe", "find", "recipes"]

from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError, nearest

BUILT_IN = "built-in data"


@dataclass(frozen=True)
class Recipe:
    """One shipped configuration."""

    name: str
    domain: str
    path: Path
    summary: str
    facts: dict[str, str]


def domains() -> dict[str, Path]:
    """Name -> folder of every application: the folders of `apps` with a command line."""
    import apps

    found = sorted(cli.parent for root in apps.__path__ for cli in Path(root).rglob("cli.py"))
    return {folder.name: folder for folder in found}


def module_of(folder: Path) -> str:
    """The import name of an application's folder."""
    parts = folder.parts
    return ".".join(parts[len(parts) - parts[::-1].index("apps") - 1 :])


def recipes(domain: str | None = None) -> list[Recipe]:
    """All recipes (of one domain), those that run on built-in data first."""
    found = [
        _read(path, name)
        for name, folder in domains().items()
        if domain in (None, name)
        for path in sorted((folder / "recipes").glob("*.yaml"))
    ]
    return sorted(found, key=lambda r: (r.domain, BUILT_IN not in r.facts.get("data", ""), r.name))


def find(name: str, domain: str | None = None) -> Path:
    """The file behind `--config NAME`: a path as it is, otherwise a shipped recipe.

    Raises:
        UserError: neither; names the nearest recipes.
    """
    if Path(name).suffix in (".yaml", ".yml", ".json") or "/" in name:
        if not Path(name).is_file():
            raise UserError(f"--config {name}: there is no such file; give a path or the name of a recipe.")
        return Path(name)
    known = {recipe.name: recipe.path for recipe in recipes(domain)}
    if name not in known:
        hint = nearest(name, known) or " `omnimix recipes` lists them."
        raise UserError(f"--config {name}: no recipe has this name.{hint}")
    return known[name]


def _read(path: Path, domain: str) -> Recipe:
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    facts = dict(line.split(": ", 1) for line in lines[1:] if ": " in line and " " not in line.split(": ")[0])
    return Recipe(path.stem, domain, path, lines[0] if lines else "", facts)
