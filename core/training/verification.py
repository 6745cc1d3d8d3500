"""`omnimix verify`: golden files and release files against our models.

    omnimix verify FILE...  [--dtype float32] [-v]        what official code computed, against ours
    omnimix verify RELEASE.pth --model NAME [--config JSON]   names and shapes of a real release file

One line a file: `ok`, `FAIL` with the worst tensor, or `unknown` with the reason; exit code 0 only if all pass.
A folder stands for the golden files in it.  NAME is `system` or `system.Class` of the tables that the core and each
app keep beside their models (`goldens.py`); `--config` gives the official constructor arguments (JSON, or a file of
it) where they differ from the release's defaults.
"""

__all__ = ["main", "tables"]

import argparse
import importlib
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from core import checkpoint
from core.errors import UserError, nearest
from core.verify import Facts, Golden, read, verify


def tables() -> Iterator[dict[str, dict[str, Golden]]]:
    """The tables of the core and of every app that is installed, one by one so that a search imports no more."""
    import apps
    import core

    for package in (core, apps):
        for root in package.__path__:
            for path in sorted(Path(root).rglob("goldens.py")):
                name = ".".join((package.__name__, *path.relative_to(root).with_suffix("").parts))
                try:
                    yield importlib.import_module(name).GOLDENS
                except ModuleNotFoundError as error:
                    if (error.name or "").split(".")[0] in ("core", "apps"):
                        raise
                    print(f"skipped {name}: {error.name} is not installed")


class Search:
    """Systems looked up table by table, each table imported once and only when needed."""

    def __init__(self):
        self.known: dict[str, dict[str, Golden]] = {}
        self.rest = tables()

    def system(self, name: str, cls: str | None = None) -> dict[str, Golden] | None:
        """The classes of a system, with `cls` among them where any table has it: tables may share a system."""
        while name not in self.known or (cls is not None and cls not in self.known[name]):
            found = next(self.rest, None)
            if found is None:
                return self.known.get(name)
            for system, classes in found.items():
                self.known.setdefault(system, {}).update(classes)
        return self.known[name]


def main(arguments: list[str]) -> int:
    """The exit code: 0 if everything passes, 1 otherwise."""
    parser = argparse.ArgumentParser(
        "omnimix verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--model", help="check names and shapes of release files against this model")
    parser.add_argument("--config", help="official constructor arguments, JSON or a file that holds it")
    parser.add_argument("--dtype", choices=["float64", "float32"], default="float64")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every tensor")
    options = parser.parse_args(arguments)
    search = Search()
    files = [f for name in options.files for f in _files(Path(name))]
    passed = 0
    for path in files:
        if options.model:
            passed += _release(path, options.model, options.config, search)
        else:
            passed += _golden(path, search, getattr(torch, options.dtype), options.verbose)
    print(f"{passed} of {len(files)} {'files fit' if options.model else 'goldens pass'}")
    return 0 if passed == len(files) else 1


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.rglob("*.safetensors"))
    if not path.exists():
        raise UserError(f"{path}: there is no such file; check the path.")
    return [path]


def _golden(path: Path, search: Search, dtype: torch.dtype, verbose: bool) -> bool:
    try:
        facts, _ = read(path)
    except ValueError as error:
        print(f"unknown  {path}: {error}")
        return False
    classes = search.system(facts.system, facts.cls)
    if classes is None or facts.cls not in classes:
        what = f"system {facts.system}" if classes is None else f"class {facts.cls} of {facts.system}"
        print(f"unknown  {path}: {what} is not in any table")
        return False
    try:
        results = verify(path, classes[facts.cls], dtype)
    except Exception as error:  # one broken file must not end a run over hundreds
        print(f"FAIL     {path}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return False
    if verbose:
        for result in results:
            print(f"  {'ok  ' if result.ok else 'FAIL'} {result.name}  error {result.error:.1e}")
    worst = max(results, key=lambda r: r.share if r.share == r.share else float("inf"), default=None)
    if worst is None:
        print(f"unknown  {path}: holds no outputs")
        return False
    passed = all(result.ok for result in results)
    print(
        f"{'ok      ' if passed else 'FAIL    '} {path}: {facts.system}.{facts.cls}, {len(results)} tensors, "
        f"worst {worst.name} {worst.error:.1e}"
    )
    return passed


def _release(path: Path, name: str, config: str | None, search: Search) -> bool:
    system, _, cls = name.partition(".")
    classes = search.system(system, cls or None)
    if classes is None:
        raise UserError(f"--model {name}: no such system.{nearest(system, search.known)}")
    cls = cls or ("Model" if "Model" in classes else next(iter(classes)))
    if cls not in classes:
        raise UserError(f"--model {name}: {system} has no class {cls}; it has {', '.join(classes)}.")
    official = checkpoint.read(path)
    shapes = {key: tuple(tensor.shape) for key, tensor in official.items()}
    facts = Facts(system, cls, _config(path, config), [], "eval", 0, shapes, 0.0, {})
    golden = classes[cls]
    module = golden.build(facts)
    if not isinstance(module, torch.nn.Module):
        raise UserError(f"--model {name}: {cls} is a function without weights; name a model.")
    mapping = golden.mapping if isinstance(golden.mapping, checkpoint.Mapping) else golden.mapping(facts)
    try:
        checkpoint.check(module, official, mapping, path.name)
    except UserError as error:
        print(f"FAIL     {error}")
        return False
    count = sum(p.numel() for p in module.parameters())
    print(f"ok       {path}: {len(official)} tensors fill {system}.{cls}, {count:,} parameters")
    return True


def _config(path: Path, text: str | None) -> dict:
    """Official constructor arguments: given, or from the config.json that Hugging Face keeps beside the weights."""
    beside = path.parent / "config.json"
    if text is None:
        return json.loads(beside.read_text()) if beside.is_file() else {}
    try:
        return json.loads(Path(text).read_text() if Path(text).is_file() else text)
    except json.JSONDecodeError as error:
        raise UserError(f"--config {text}: not JSON ({error}); give an object of constructor arguments.") from None
