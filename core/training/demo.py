"""`make demo`: every application's quick recipe on built-in data, and one page that shows what came out.

An application takes part by shipping a recipe whose name ends in `_quick`.
"""

__all__ = ["main"]

import subprocess
import sys
import time
from html import escape
from pathlib import Path

from core.training.cli import ROOT
from core.training.files import latest_run, writing
from core.training.recipes import Recipe, domains, module_of, recipes

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Omnimix demo</title>
<style>body {{ margin: 0; font: 16px/1.5 system-ui, sans-serif; }} h1 {{ font-size: 1.3rem; margin: 1rem; }}
iframe {{ width: 100%; height: 92vh; border: 0; border-top: 1px solid #8888; }}</style></head>
<body><h1>Omnimix demo: {count} in {seconds:.0f} s</h1>
{frames}
</body></html>
"""


def main() -> int:
    """Trains, evaluates and reports; the exit code is 1 if one of the recipes failed."""
    started = time.perf_counter()
    reports, failed = [], []
    folders = domains()
    chosen: dict[str, Recipe] = {}
    for recipe in recipes():
        if recipe.name.endswith("_quick"):
            chosen.setdefault(recipe.domain, recipe)
    for domain, recipe in chosen.items():
        print(f"\n== omnimix {domain} fit --config {recipe.name}: {recipe.summary}", flush=True)
        command = [sys.executable, "-m", module_of(folders[domain]), "fit", "--config", recipe.name]
        if subprocess.run(command).returncode:
            failed.append(recipe.name)
            continue
        run = latest_run(ROOT, recipe.name, "last")
        if run is not None:
            reports.append((recipe, (run / "report.html").read_text(encoding="utf-8")))
    seconds = time.perf_counter() - started
    frames = "\n".join(
        f'<iframe title="{escape(recipe.name)}" srcdoc="{escape(page, quote=True)}"></iframe>'
        for recipe, page in reports
    )
    page = Path(ROOT) / "demo.html"
    with writing(page) as path:
        path.write_text(
            PAGE.format(count=", ".join(r.name for r, _ in reports), seconds=seconds, frames=frames), encoding="utf-8"
        )
    print(f"\n{len(reports)} of {len(chosen)} applications in {seconds:.0f} s; one page for all: {page}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
