"""`python -m apps.timeseries.protocols` on the real sets with a tiny network: tables, files, nothing done twice."""

import json
import os
from pathlib import Path

import pytest
import yaml

from apps.timeseries.protocols import epftoolbox, paper
from apps.timeseries.protocols.__main__ import main

ROOT = Path(os.environ.get("OMNIMIX_DATA") or "data").absolute()
needs_data = pytest.mark.skipif(
    not (ROOT / "timeseries" / "epf_forecasts").is_dir(), reason="the price sets are not on this machine"
)


@pytest.fixture
def recipe(tiny, monkeypatch):
    monkeypatch.setenv("OMNIMIX_DATA", str(ROOT))
    config = yaml.safe_load(Path(tiny).read_text())
    config["data"] |= {"dataset": {"class_path": "EPF"}, "stride": 200, "context_length": 24}
    config["trainer"]["max_epochs"] = 1
    Path("small.yaml").write_text(yaml.safe_dump(config))
    return "small.yaml"


@needs_data
@pytest.mark.parametrize("protocol, file", [("fev", "fev_small"), ("epftoolbox", "epftoolbox_small")])
def test_tables_and_resumption(recipe, capsys, monkeypatch, protocol, file):
    # Seconds each time, and tested elsewhere.
    monkeypatch.setattr(epftoolbox, "ridge", lambda panel: epftoolbox._prices(panel) + 1)
    words = [protocol, "--sets", "NP", "--recipe", recipe]
    words += ["--every", "0"] if protocol == "epftoolbox" else []
    assert main([*words, "--seeds", "0"]) == 0
    first = capsys.readouterr().out
    assert "NP, seed 0" in first and "ridge on LEAR inputs" in first and "published" in first
    assert main([*words, "--seeds", "0,1"]) == 0
    second = capsys.readouterr().out
    assert "NP, seed 0" not in second and "NP, seed 1" in second
    assert "mean of 2 seeds" in second and " ± " in second and "seeds 0, 1" in second
    kept = json.loads(Path(f"runs/protocols/{file}.json").read_text())
    assert kept["seeds"] == [0, 1] and any("TimeXer" in row for table in kept["tables"].values() for row in table)
    # Another setting is another run.
    assert main([*words, "--seeds", "0", "--model.network.dim", "4"]) == 0
    assert "NP, seed 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, said",
    [
        (["--sets", "NX"], "--sets NX"),
        (["--seeds", "one"], "--seeds one"),
        (["--recipe", "timexer_epf_knwon"], "timexer_epf_known"),
        (["--trainer.max_epoch", "1"], "--trainer.max_epoch"),
    ],
)
def test_bad_arguments_end_in_one_sentence(capsys, words, said):
    assert main(["fev", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and len(error.splitlines()) == 1


def scores(base):
    names = (paper.NETWORK, "ridge on the same inputs", "seasonal naive, lag 24")
    return {name: {"MSE": base + n, "MAE": base + n} for n, name in enumerate(names)}


@pytest.mark.parametrize("known", [True, False])
def test_known_future_never_shares_a_column_with_the_papers(known):
    runs = {name: [scores(0.1), scores(0.3)] for name in ("NP", "DE")}
    for table in paper.table("TimeXer", known, runs):
        rows = {row.name: row for row in table.rows}
        own = set(rows["TimeXer"].values)
        assert own == set(rows["ridge on the same inputs"].values)
        assert rows["TimeXer"].values == pytest.approx(dict.fromkeys(own, 0.2)) and len(rows["TimeXer"].deviations) == 3
        assert bool(own & set(rows["TimeXer (paper)"].values)) != known
        assert own | set(rows["TimeXer (paper)"].values) == set(rows["seasonal naive, lag 24"].values)
