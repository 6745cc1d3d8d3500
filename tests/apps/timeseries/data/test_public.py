"""The public sets: small copies in the shapes people have them, and the real files where they are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from apps.timeseries.data import epf, ett
from apps.timeseries.data.calendar import marks
from apps.timeseries.data.public import data_folder
from apps.timeseries.data.scaler import Scaler
from apps.timeseries.data.windows import WindowDataset
from core.errors import UserError

LENGTHS = {"context_length": 168, "prediction_length": 24}


def prices(path: Path, header: str, form: str, order=(0, 1, 2, 3), rows=epf.ROWS) -> None:
    index = pd.date_range("2013-01-01", periods=rows, freq="h")
    dates = [f"{t.year}/{t.month}/{t.day} {t.hour}:00" for t in index] if form == "short" else index.strftime(form)
    columns = [dates, np.arange(rows) % 97, np.arange(rows) % 89, np.arange(rows) % 83 - 5.5]
    table = pd.DataFrame({k: columns[source] for k, source in enumerate(order)})
    path.write_text(header + "\n" + table.to_csv(index=False, header=False))


@pytest.mark.parametrize(
    ("header", "form", "order"),
    [
        ("date,Grid load forecast,Wind power forecast,price", "%Y-%m-%d %H:%M:%S", (0, 1, 2, 3)),
        ("date, Grid load forecast, Wind power forecast,OT", "short", (0, 1, 2, 3)),
        ("Date, Price, Grid load forecast, Wind power forecast", "%Y-%m-%d %H:%M:%S", (0, 3, 1, 2)),
    ],
)
def test_epf_files_in_every_shape(tmp_path, header, form, order):
    prices(tmp_path / "NP.csv", header, form, order)
    panel = epf.read_epf("NP", tmp_path)
    assert panel.known_future == ("Grid load forecast", "Wind power forecast") and panel.freq == "h"
    assert panel.item_ids == ("NP",) and panel.values[100].tolist() == [11.5, 3, 11]
    parts = epf.paper_split(panel)
    assert [part.tolist() for part in parts] == [[[0, 36_691]], [[36_691, 41_933]], [[41_933, 52_416]]]
    assert epf.fev_part(panel).tolist() == [[51_936, 52_416]]
    assert epf.toolbox_part(panel).tolist() == [[34_944, 52_416]]
    assert epf.before(epf.fev_part(panel)).tolist() == [[0, 51_936]]


def test_epf_errors(tmp_path):
    with pytest.raises(UserError, match=r"EPF set 'np' is unknown; choose one of NP, PJM, BE, FR, DE"):
        epf.read_epf("np", tmp_path)
    with pytest.raises(UserError, match=r"NP.csv.gz: not found; download NP.csv from the Zenodo record 4624805"):
        epf.read_epf("NP", tmp_path)
    prices(tmp_path / "NP.csv", "date,a,b,price", "%Y-%m-%d %H:%M", rows=100)
    with pytest.raises(UserError, match=r"NP.csv: has 100 rows, the published set has 52,416"):
        epf.read_epf("NP", tmp_path)
    prices(tmp_path / "DE.csv", "date,a,b,c", "%Y-%m-%d %H:%M", rows=5)
    with pytest.raises(UserError, match=r"DE.csv row 1: expected a date, one price column"):
        epf.read_epf("DE", tmp_path)


def test_ett_files_and_split(tmp_path):
    index = pd.date_range("2016-07-01", periods=14_400, freq="h")
    table = pd.DataFrame({"date": index, **{name: np.arange(14_400) % 50 for name in ett.COLUMNS}})
    table.to_csv(tmp_path / "ETTh1.csv", index=False)
    panel = ett.read_ett("ETTh1", tmp_path)
    assert panel.target == ett.COLUMNS and panel.past_only == ()
    parts = ett.ett_split(panel, "ETTh1")
    assert [part.tolist() for part in parts] == [[[0, 8640]], [[8640, 11_520]], [[11_520, 14_400]]]
    one = ett.read_ett("ETTh1", tmp_path, target=["OT"])
    assert one.columns == ("OT", "HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL") and len(one.past_only) == 6
    with pytest.raises(UserError, match="has 14,400 rows, the published split needs 57,600"):
        ett.ett_split(panel, "ETTm1")
    with pytest.raises(UserError, match="ETT set 'ETTh3' is unknown"):
        ett.read_ett("ETTh3", tmp_path)
    with pytest.raises(UserError, match=r"download ETTm1.csv from https://github.com/zhouhaoyi/ETDataset"):
        ett.read_ett("ETTm1", tmp_path)


def test_the_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("OMNIMIX_DATA", str(tmp_path))
    assert data_folder("epf") == tmp_path / "timeseries" / "epf"
    assert data_folder("epf", "mine") == Path("mine")
    monkeypatch.delenv("OMNIMIX_DATA")
    assert data_folder("epf") == Path("data/timeseries/epf")


def needs(kind: str, name: str) -> None:
    if not any((data_folder(kind) / (name + suffix)).is_file() for suffix in (".csv.gz", ".csv")):
        pytest.skip(f"{name} is not in {data_folder(kind)}; set OMNIMIX_DATA to the folder of public data")


# Mean squared and absolute error of the forecasts "24 hours ago" and "168 hours ago" in the paper protocol, and
# mean, least and largest price and the number of negative ones, each computed once and independently of this code.
NAIVE = {
    "NP": (0.4405, 0.3672, 0.7750, 0.5313, 31.44, 1.14, 199.97, 0),
    "PJM": (0.1273, 0.2242, 0.2845, 0.3215, 30.47, -6.98, 839.30, 93),
    "BE": (0.5850, 0.3612, 0.9666, 0.4061, 44.29, -200, 2999, 26),
    "FR": (0.5524, 0.3024, 0.6730, 0.3232, 41.45, -200, 1938.50, 35),
    "DE": (0.9362, 0.6205, 1.3369, 0.7313, 34.68, -221.99, 210, 538),
}


@pytest.mark.parametrize("name", epf.SETS)
def test_epf_as_published(name):
    needs("epf", name)
    panel = epf.read_epf(name)
    price = panel.values[:, 0]
    *errors, mean, least, largest, negative = NAIVE[name]
    statistics = [price.double().mean(), price.min(), price.max()]
    np.testing.assert_allclose(statistics, [mean, least, largest], atol=0.006)
    assert int((price < 0).sum()) == negative
    parts = epf.paper_split(panel)
    scaler = Scaler.fit(panel, parts.train)
    data = [WindowDataset(panel, part, scaler, time_features=marks, **LENGTHS) for part in parts]
    assert [len(d) for d in data] == [36_500, 5_219, 10_460]
    assert len(WindowDataset(panel, epf.fev_part(panel), scaler, stride=24, **LENGTHS)) == 20
    assert len(WindowDataset(panel, epf.toolbox_part(panel), scaler, stride=24, **LENGTHS)) == 728
    batch = data[2].__getitems__(range(len(data[2])))
    true, past = batch["future_target"].double(), batch["past_target"].double()
    difference = [true - past[:, -24:], true - past[:, :24]]
    found = [float(error) for d in difference for error in ((d**2).mean(), d.abs().mean())]
    np.testing.assert_allclose(found, errors, atol=6e-5)


@pytest.mark.parametrize("name", ["ETTh1", "ETTh2"])
def test_ett_as_published(name):
    needs("ett", name)
    panel = ett.read_ett(name)
    assert len(panel.values) == 17_420
    parts = ett.ett_split(panel, name)
    scaler = Scaler.fit(panel, parts.train)
    counts = [len(WindowDataset(panel, p, scaler, context_length=96, prediction_length=96)) for p in parts]
    assert counts == [8640 - 192 + 1, 2880 - 95, 2880 - 95]
    assert torch.isfinite(scaler.transform(panel)).all()
