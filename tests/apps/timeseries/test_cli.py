"""The commands end to end on a tiny recipe: files, errors, interruption and going on."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from core.training.launch import main


def omnimix(*words):
    """Exit code of `omnimix timeseries ...` in this process."""
    with pytest.raises(SystemExit) as end:
        main(["timeseries", *map(str, words)])
    return end.value.code


def weights(run):
    return torch.load(Path("runs/tiny") / run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def equal(a, b):
    return all(torch.equal(a[k], b[k]) for k in a if k.startswith("net."))


def test_fit_evaluate_predict(tiny, capsys):
    assert omnimix("fit", "--config", tiny) == 0
    run = Path("runs/tiny/0")
    assert {"config.yaml", "metrics.csv", "results.json", "report.html", "checkpoints"} <= {
        p.name for p in run.iterdir()
    }
    results = json.loads((run / "results.json").read_text())
    assert results["metrics"]["MAE"] > 0 and "ridge on the same inputs" in results["baselines"]
    page = (run / "report.html").read_text()
    assert "<script" not in page and "http" not in page.replace("http://www.w3.org", "") and len(page) < 5e6
    out = capsys.readouterr().out
    assert "seed 0" in out.splitlines()[0] and "report: " in out
    scores = pd.read_csv(run / "metrics.csv")
    assert len(scores["val_mae"].dropna()) == 2

    assert omnimix("evaluate", "--config", tiny, "--ckpt_path", "best") == 0
    again = json.loads((run / "results.json").read_text())
    assert again["metrics"] == results["metrics"]
    assert omnimix("test", "--config", tiny, "--ckpt_path", "best") == 0
    # A saved configuration is a recipe.
    assert omnimix("validate", "--config", run / "config.yaml", "--ckpt_path", run / "checkpoints/best.ckpt") == 0

    stamps = pd.date_range("2024-01-01", periods=120, freq="h")
    table = pd.DataFrame({"timestamp": stamps, "price": 50.0, "fuel": 1.0, "load": 0.7, "wind": 0.2,
                          "wind_share": 0.4, "thermal_share": 0.6, "region": "coast"})  # fmt: skip
    table.loc[96:, ["price", "fuel"]] = None
    table.to_csv("my.csv", index=False)
    words = ["predict", "--data.path", "my.csv", "--data.target", "price", "--data.known_future", "load,wind",
             "--data.past_only", "fuel", "--ckpt_path", run / "checkpoints/best.ckpt"]  # fmt: skip
    assert omnimix(*words, "--out", "forecast.csv") == 2
    assert "--data.static_real names 0 columns" in capsys.readouterr().err
    words += ["--data.static_real", "wind_share,thermal_share", "--data.static_cat", "region"]
    assert omnimix(*words, "--out", "forecast.csv") == 0
    forecast = pd.read_csv("forecast.csv", parse_dates=["timestamp"])
    assert list(forecast.timestamp) == list(stamps[96:])
    assert list(forecast.columns) == ["item_id", "timestamp", "price", "price_0.1", "price_0.5", "price_0.9"]
    assert (forecast["price_0.1"] <= forecast["price_0.9"]).all() and forecast.notna().all().all()
    capsys.readouterr()
    assert omnimix(*words, "--out", "forecast.csv") == 2
    assert "exists already" in capsys.readouterr().err
    assert omnimix(*words, "--out", "forecast.txt") == 2
    assert ".csv" in capsys.readouterr().err


def test_a_wide_table_is_many_series(tiny):
    hours = pd.date_range("2024-01-01", periods=400, freq="h")
    rows = {"timestamp": hours, "a": range(400), "b": [n % 24 for n in range(400)]}
    pd.DataFrame(rows).to_csv("wide.csv", index=False)
    own = ["--data.path", "wide.csv", "--data.target", "a,b", "--data.wide", "true"]
    assert omnimix("fit", "--config", tiny, *own, "--trainer.max_epochs", "1") == 0
    words = ["predict", "--ckpt_path", "runs/tiny/0/checkpoints/best.ckpt", "--out", "f.parquet"]
    assert omnimix(*words) == 0
    forecast = pd.read_parquet("f.parquet")
    assert forecast.groupby("item_id").size().to_dict() == {"a": 24, "b": 24}
    assert forecast.timestamp.min() == hours[-1] + pd.Timedelta("1h")


@pytest.mark.parametrize(
    "words, said",
    [
        (["--model.networc", "3"], "--model.networc"),
        (["--model.network.dimm", "3"], "--model.network.dimm: there is no such option"),
        (["--data.batch_size", "many"], "--data.batch_size"),
        (["--model.network.dim", "63"], "dim 63 is not a multiple of heads 2"),
        (["--model.network", "DLinear"], "DLinear cannot use"),
        (["--data.dataset", "Simulatd"], "Did you mean Simulated?"),
        (["--model.network.head", "Quantils"], "--model.network.head: Quantils is not the name of a class"),
        (["--trainer.max_epochs", "x"], "--trainer.max_epochs"),
        (["--config"], "--config"),
        (["--ckpt_path", "none.ckpt"], "none.ckpt"),
    ],
)
def test_bad_arguments_end_in_one_sentence(tiny, capsys, words, said):
    assert omnimix("fit", "--config", tiny, *words) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and len(error.splitlines()) == 1 and len(error) < 400
    assert not list(Path(".").glob("runs/*/*/checkpoints"))


def test_a_broken_checkpoint_is_said(tiny, capsys):
    Path("half.ckpt").write_bytes(b"PK\x03\x04 half a file")
    assert omnimix("evaluate", "--ckpt_path", "half.ckpt") == 2
    assert "not a readable checkpoint" in capsys.readouterr().err
    torch.save({"state_dict": {}}, "other.ckpt")
    assert omnimix("evaluate", "--ckpt_path", "other.ckpt") == 2
    assert "was not written by omnimix fit" in capsys.readouterr().err


@pytest.mark.parametrize("step", [3, 15])
def test_interrupted_run_goes_on_to_the_same_result(tiny, monkeypatch, step):
    """Ctrl-C in the middle of the first or second epoch."""
    assert omnimix("fit", "--config", tiny) == 0
    from apps.timeseries.task import ForecastTask

    plain = ForecastTask.training_step

    def interrupted(self, batch, batch_idx):
        if self.global_step == step:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(ForecastTask, "training_step", interrupted)
        assert omnimix("fit", "--config", tiny) == 130
    assert torch.load("runs/tiny/1/checkpoints/last.ckpt", weights_only=True)["global_step"] == step + 1
    assert omnimix("fit", "--config", tiny, "--ckpt_path", "last") == 0
    assert equal(weights("0"), weights("1"))
    one, two = (json.loads(Path(f"runs/tiny/{n}/results.json").read_text()) for n in (0, 1))
    assert one["metrics"] == two["metrics"]
    assert pd.read_csv("runs/tiny/0/metrics.csv").equals(pd.read_csv("runs/tiny/1/metrics.csv"))


KILLED = """
import os, signal, sys
from apps.timeseries.task import ForecastTask
plain = ForecastTask.training_step
def step(self, batch, batch_idx):
    if self.global_step == 15:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(self, batch, batch_idx)
ForecastTask.training_step = step
from core.training.launch import main
main(["timeseries", "fit", "--config", sys.argv[1]])
"""


def test_killed_run_goes_on_to_the_same_result(tiny):
    """SIGKILL in the second epoch: the run goes on from the end of the first."""
    assert omnimix("fit", "--config", tiny) == 0
    root = Path(__file__).parents[3]
    killed = subprocess.run([sys.executable, "-c", KILLED, tiny], env={**os.environ, "PYTHONPATH": str(root)})
    assert killed.returncode == -signal.SIGKILL
    assert not Path("runs/tiny/1/results.json").exists()
    assert omnimix("fit", "--config", tiny, "--ckpt_path", "last") == 0
    assert equal(weights("0"), weights("1"))


@pytest.mark.slow
def test_two_processes_equal_one(tiny):
    """Two gloo processes with half the batch each: the same weights and the same report."""
    root = Path(__file__).parents[3]
    # No dropout, because its draws differ by process; whole batches, because two processes repeat a window to be even.
    words = ["--model.network.dropout", "0", "--trainer.limit_train_batches", "20", "--trainer.accelerator", "cpu"]
    command = [sys.executable, "-m", "apps.timeseries", "fit", "--config", tiny, *words]
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--data.batch_size", "8"], env=env, check=True)
    two = [*command, "--data.batch_size", "4", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    subprocess.run(two, env=env, check=True)
    a, b = weights("0"), weights("1")
    for key in a:
        if key.startswith("net."):
            torch.testing.assert_close(a[key], b[key], rtol=1e-4, atol=1e-5)
    results = [json.loads(Path(f"runs/tiny/{n}/results.json").read_text())["metrics"] for n in (0, 1)]
    assert results[0]["MAE"] == pytest.approx(results[1]["MAE"], rel=1e-4)


def test_last_without_a_run_starts_one(tiny):
    assert omnimix("fit", "--config", tiny, "--ckpt_path", "last", "--trainer.max_epochs", "1") == 0
    assert Path("runs/tiny/0/checkpoints/last.ckpt").is_file()
