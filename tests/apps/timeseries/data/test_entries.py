import numpy as np
import pandas as pd
import pytest
import torch

from apps.timeseries.data import repository
from apps.timeseries.data.entries import from_entries, to_entries
from apps.timeseries.data.generator import simulate_prices
from apps.timeseries.data.series import Panel
from apps.timeseries.data.sources import GluontsSet
from core.errors import UserError

ListDataset = pytest.importorskip("gluonts.dataset.common").ListDataset


def same(one: Panel, two: Panel) -> None:
    for name in ("values", "offsets", "reals", "categories", "history"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name), rtol=0, atol=0, equal_nan=True)
    for name in ("item_ids", "freq", "columns", "vocabulary"):
        assert getattr(one, name) == getattr(two, name), name
    assert (one.starts == two.starts).all()


def test_round_trip_with_future_rows_and_gaps():
    panel = simulate_prices(3, 40).panel
    for end in panel.offsets[1:]:
        panel.values[end - 24 : end, :2] = float("nan")
    panel.values[100:110, 0] = float("nan")
    entries = to_entries(panel)
    assert entries[1]["feat_dynamic_real"].shape == (2, 33 * 24), "covariate axis first, time last"
    assert entries[1]["target"].shape == (33 * 24 - 24,) and entries[1]["start"] == pd.Period("2021-01-08", "h")
    back = from_entries(
        entries,
        target=panel.target,
        past_only=panel.past_only,
        known_future=panel.known_future,
        vocabulary=panel.vocabulary,
    )
    same(back, panel)


def test_through_a_gluonts_list_dataset():
    panel = simulate_prices(2, 30).panel
    dataset = ListDataset(to_entries(panel), freq="h")
    back = from_entries(dataset)
    torch.testing.assert_close(back.values, panel.values)
    assert back.columns == ("target", "past_0", "known_0", "known_1") and back.freq == "h"
    assert back.vocabulary == {"static_0": ("0", "1")} and back.starts.tolist() == panel.starts.tolist()


def test_several_targets():
    entries = [{"start": pd.Period("2020", "D"), "target": np.arange(12.0).reshape(2, 6)}]
    panel = from_entries(entries, target=["a", "b"])
    assert panel.target == ("a", "b") and panel.values[1].tolist() == [1, 7]
    assert to_entries(panel)[0]["target"].shape == (2, 6)
    assert from_entries(entries).target == ("target_0", "target_1")


@pytest.mark.parametrize(
    "freq", ["h", "15min", "D", "B", "MS", "ME", "QS-FEB", "QE-MAR", "YS-JAN", "YE-DEC", "W-MON", "2h", "3MS"]
)
@pytest.mark.filterwarnings("ignore:Period with BDay freq")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_every_frequency_survives(freq):
    start = pd.date_range("2020-03-01", periods=1, freq=freq).to_numpy().astype("datetime64[ns]")
    panel = Panel(torch.arange(5.0)[:, None], torch.tensor([0, 5]), ("a",), start, freq, ("target",))
    entry = to_entries(panel)[0]
    back = from_entries([entry])
    # Periods know beginnings only: stamps at ends of months come back as their beginnings.
    expected = panel.stamps(0)
    if freq[:2] in ("ME", "QE", "YE"):
        months = {"M": 1, "Q": 3, "Y": 12}[freq[0]]
        expected = expected + pd.Timedelta("1D") - pd.DateOffset(months=months)
    assert back.stamps(0).tolist() == expected.tolist()
    again = to_entries(back)[0]
    assert again["start"].start_time == entry["start"].start_time


def test_entries_that_do_not_fit():
    good = {"item_id": "a", "start": pd.Period("2020-01-01", "h"), "target": np.arange(5.0)}
    with pytest.raises(UserError, match="has no series"):
        from_entries([])
    with pytest.raises(UserError, match="series 'b' has the frequency D, the first one h"):
        from_entries([good, good | {"item_id": "b", "start": pd.Period("2020", "D")}])
    with pytest.raises(UserError, match=r"series 'b' has \(1, 1, 0, 0, 0\) targets"):
        from_entries([good, good | {"item_id": "b", "past_feat_dynamic_real": np.ones((1, 5))}])
    with pytest.raises(UserError, match="series 'a' has covariates shorter than its target"):
        from_entries([good | {"feat_dynamic_real": np.ones((1, 4))}])
    with pytest.raises(UserError, match="tells no frequency"):
        from_entries([good | {"start": "2020-01-01"}])
    assert from_entries([good | {"start": "2020-01-01"}], "h").freq == "h"


def test_repository(monkeypatch, tmp_path):
    from functools import partial

    from gluonts.dataset import repository as online

    monkeypatch.setattr(online, "get_dataset", partial(online.get_dataset, path=tmp_path))
    sets = repository.read_repository("constant")  # made by gluonts itself, nothing is fetched
    assert sets.prediction_length > 0 and len(sets.train) == len(sets.test) == 10
    assert (sets.test.lengths - sets.train.lengths == sets.prediction_length).all()
    source = GluontsSet("constant")
    panel = source.panel()
    train, validation, test = source.split(panel)
    assert (test[:, 1] == panel.history).all() and ((test[:, 1] - test[:, 0]) == sets.prediction_length).all()
    assert (validation[:, 1] == test[:, 0]).all() and (train[:, 1] == validation[:, 0]).all()
    with pytest.raises(UserError, match=r"'m4_hourli' is unknown. Did you mean m4_hourly"):
        repository.read_repository("m4_hourli")

    def offline(name):
        raise OSError("no route to host")

    monkeypatch.setattr(online, "get_dataset", offline)
    with pytest.raises(UserError, match=r"'m4_hourly': could not be fetched \(no route to host\); connect"):
        repository.read_repository("m4_hourly")
