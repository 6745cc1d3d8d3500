"""`python -m apps.timeseries.protocols fev|epftoolbox|paper`: a recipe under one of the three protocols of prices.

    python -m apps.timeseries.protocols fev --recipe timexer_epf_known --sets NP,DE --seeds 0,1,2
    python -m apps.timeseries.protocols epftoolbox --recipe timexer_epf_known --every 28 --trainer.max_epochs 5
    python -m apps.timeseries.protocols paper --recipe timexer_epf --seeds 0

Any other word overrides the recipe as it does in `omnimix timeseries fit`.  The table has the baselines and the
published systems beside the network; runs are kept in `runs/protocols` and not done again.
"""

import argparse
import shlex
import sys
from collections.abc import Callable

import numpy as np
import torch

from apps.timeseries.data.epf import SETS, read_epf
from apps.timeseries.heads import Quantiles
from apps.timeseries.protocols import epftoolbox, fev, paper
from apps.timeseries.protocols.training import Training
from core.errors import UserError, nearest
from core.training.report import Table
from core.training.results import hardware, render
from core.training.store import Arrays, Store

FOLDER = "runs/protocols"


def main(arguments: list[str]) -> int:
    """The exit code: 0 done, 2 something to mend."""
    options, words = parser().parse_known_args(arguments)
    try:
        sets, seeds = _sets(options.sets), _seeds(options.seeds)
        torch.set_num_threads(options.threads)
        head = Quantiles if options.protocol == "fev" else None
        training = Training(options.recipe, words, head)
        settings = training.settings | {"validation_days": getattr(options, "validation_days", None)}
        settings |= {name: getattr(options, name) for name in FURTHER[options.protocol]}
        store = Store(options.folder, f"{options.protocol}_{training.name}", settings)
        line = shlex.join(["python", "-m", "apps.timeseries.protocols", *arguments])
        tables = {"fev": run_fev, "epftoolbox": run_toolbox, "paper": run_paper}[options.protocol](
            options, training, store, sets, seeds, line
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for table in tables:
        print("\n" + render(table))
    rows = {t.title: {row.name: row.values | _deviations(row.deviations) for row in t.rows} for t in tables}
    kept = store.write({"command": line, "sets": sets, "seeds": seeds, "hardware": hardware(), "tables": rows})
    print(f"\n{kept}")
    return 0


FIRST = {
    "first": (300, "steps on windows that start at midnight, after the first training"),
    "first_rate": (0.5, "share of the recipe's learning rate there"),
}
REFIT = FIRST | {
    "every": (28, "days between refits, 0 for none"),
    "steps": (30, "of a refit"),
    "rate": (0.15, "share of the recipe's learning rate in refits"),
    "half_life": (360.0, "in days, after which a window is drawn half as often"),
}
FURTHER = {"paper": {}, "fev": FIRST, "epftoolbox": REFIT}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        "python -m apps.timeseries.protocols",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    kinds = top.add_subparsers(dest="protocol", required=True)
    for name, module in (("fev", fev), ("epftoolbox", epftoolbox), ("paper", paper)):
        own = kinds.add_parser(name, help=(module.__doc__ or "").split("\n")[0], allow_abbrev=False)
        own.add_argument("--recipe", default="timexer_epf_known", help="a shipped recipe or a YAML file")
        own.add_argument("--sets", default=",".join(SETS), help="which of NP, PJM, BE, FR, DE")
        own.add_argument("--seeds", default="0")
        own.add_argument("--threads", type=int, default=1, help="of torch")
        own.add_argument("--folder", default=FOLDER, help="where runs are kept")
        if name != "paper":
            own.add_argument(
                "--validation_days", type=int, default=0, help="kept from training to choose the epoch by; 0 for none"
            )
        for option, (value, text) in FURTHER[name].items():
            own.add_argument(f"--{option}", type=type(value), default=value, help=f"{text} ({value})")
    return top


def _sets(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in SETS:
            raise UserError(f"--sets {name}: choose from {', '.join(SETS)}.{nearest(name, SETS)}")
    return names


def _seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds {text}: whole numbers with commas between, for example 0,1,2.") from None


def _deviations(deviations: dict[str, float]) -> dict[str, float]:
    return {f"{column}, deviation": value for column, value in deviations.items()}


def _once(store: Store, data: str, seed: int, run: Callable[[], Arrays]) -> Arrays:
    """A finished run from the store, or the run, kept."""
    kept = store.get(data, seed)
    if kept is None:
        print(f"{data}, seed {seed}", flush=True)
        kept = run()
        store.put(data, seed, kept)
    return kept


def _caption(line: str, seeds: list[int], seconds: float, runs: int) -> str:
    return (
        f"`{line}`; seeds {', '.join(map(str, seeds))}; {hardware()}; {seconds / max(1, runs):.0f} s of training a run."
    )


def run_fev(options, training: Training, store: Store, sets: list[str], seeds: list[int], line: str) -> list[Table]:
    label = f"{training.label}, trained once"
    systems: dict[str, dict] = {label: {}, f"{label}, mean of {len(seeds)} seeds": {}}
    systems |= {"ridge on LEAR inputs": {}, "seasonal naive": {}}
    seconds = 0.0
    for name in sets:
        panel, source = read_epf(name), training.epf(name)

        def run(seed: int, source=source) -> Arrays:
            quantiles, took = fev.network(
                source.panel(), training, seed, options.validation_days, options.first, options.first_rate
            )
            return {"quantiles": quantiles, "seconds": np.array(took)}

        runs = [_once(store, name, seed, lambda seed=seed, run=run: run(seed)) for seed in seeds]
        seconds += sum(float(kept["seconds"]) for kept in runs)
        forecasts = [kept["quantiles"] for kept in runs]
        made = (forecasts, [np.mean(forecasts, 0)], [fev.ridge(panel)], [fev.seasonal_naive(panel)])
        for system, several in zip(systems, made, strict=True):
            systems[system][name] = [fev.scores(panel, quantiles) for quantiles in several]
    if len(seeds) == 1:
        del systems[f"{label}, mean of 1 seeds"]
    return fev.table(systems, _caption(line, seeds, seconds, len(sets) * len(seeds)))


def run_toolbox(options, training: Training, store: Store, sets: list[str], seeds: list[int], line: str) -> list[Table]:
    refit = epftoolbox.Refit(**{name: getattr(options, name) for name in REFIT})
    tables = []
    # A missing file is said before hours of training.
    shipped = {name: epftoolbox.shipped(name, read_epf(name)) for name in sets}
    for name in sets:
        panel, source = read_epf(name), training.epf(name)

        def run(seed: int, source=source) -> Arrays:
            forecast, took = epftoolbox.network(source.panel(), training, seed, refit, options.validation_days)
            return {"forecast": forecast, "seconds": np.array(took)}

        runs = [_once(store, name, seed, lambda seed=seed, run=run: run(seed)) for seed in seeds]
        seconds = sum(float(kept["seconds"]) for kept in runs)
        networks, ridge = [kept["forecast"] for kept in runs], epftoolbox.ridge(panel)
        own = {
            training.label: networks,
            "ridge on LEAR inputs, refitted weekly": [ridge],
            f"mean of {training.label} and the ridge": [(np.mean(networks, 0) + ridge) / 2],
        }
        tables.append(epftoolbox.table(name, panel, own, shipped[name], _caption(line, seeds, seconds, len(seeds))))
    return tables


def run_paper(options, training: Training, store: Store, sets: list[str], seeds: list[int], line: str) -> list[Table]:
    runs: dict[str, list] = {name: [] for name in sets}
    seconds, known = 0.0, False
    for name in sets:
        source = training.epf(name)
        known = not source.past_only

        def run(seed: int, source=source) -> Arrays:
            scores, took = paper.network(source, training, seed)
            return {k: np.array([v[m] for m in paper.METRICS]) for k, v in scores.items()} | {"seconds": np.array(took)}

        for seed in seeds:
            kept = dict(_once(store, name, seed, lambda seed=seed, run=run: run(seed)))
            seconds += float(kept.pop("seconds"))
            runs[name].append({k: dict(zip(paper.METRICS, map(float, v), strict=True)) for k, v in kept.items()})
    return paper.table(training.label, known, runs, _caption(line, seeds, seconds, len(sets) * len(seeds)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
