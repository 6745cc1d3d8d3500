import numpy as np
import pandas as pd
import pytest
import torch

from apps.timeseries.data.calendar import cyclic, marks, stamps
from apps.timeseries.data.scaler import Scaler
from apps.timeseries.data.series import Panel
from apps.timeseries.data.splits import everything, horizon, last_rows, proportions
from core.errors import UserError

NAN = float("nan")


def panel(lengths=(5, 3), freq="h", **changes) -> Panel:
    rows = sum(lengths)
    values = torch.arange(rows * 3, dtype=torch.float32).view(rows, 3)
    arguments = {
        "values": values,
        "offsets": torch.tensor([0, *np.cumsum(lengths).tolist()]),
        "item_ids": tuple("abcdefgh"[: len(lengths)]),
        "starts": np.array(["2020-01-01T05:00"] * len(lengths), dtype="datetime64[ns]"),
        "freq": freq,
        "target": ("y",),
        "past_only": ("p",),
        "known_future": ("f",),
    }
    return Panel(**(arguments | changes))


def test_rows_stamps_and_columns():
    p = panel()
    assert len(p) == 2 and p.columns == ("y", "p", "f") and p.lengths.tolist() == [5, 3]
    assert p.rows(1)[0].tolist() == [15, 16, 17]
    assert p.stamps(1).tolist() == pd.date_range("2020-01-01 05:00", periods=3, freq="h").tolist()
    assert p.stamps(0, -2, 3)[0] == pd.Timestamp("2020-01-01 03:00"), "rows before a series continue its calendar"


def test_history_ends_with_the_last_observed_target():
    values = torch.zeros(8, 3)
    values[[1, 3, 4, 7], 0] = NAN
    p = panel(values=values)
    assert p.history.tolist() == [3, 2]
    assert p.observed[:, 0].tolist() == [True, False, True, False, False, True, True, False]
    assert everything(p).tolist() == [[0, 3], [0, 2]]
    assert horizon(p, 4).tolist() == [[3, 7], [2, 6]]


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"values has shape \(8, 2\), expected \(8, 3\)"):
        panel(values=torch.zeros(8, 2))
    with pytest.raises(ValueError, match="static_real"):
        panel(static_real=torch.zeros(3, 1), static_real_names=("s",))
    with pytest.raises(ValueError, match="float64"):
        panel(values=torch.zeros(8, 3, dtype=torch.float64))


@pytest.mark.parametrize("freq", ["h", "15min", "MS", "ME", "W-MON", "B", "YS", "QS", "D"])
def test_stamps_equal_pandas_date_range(freq):
    starts = pd.date_range("2019-02-01", periods=3, freq=freq).to_numpy().astype("datetime64[ns]")
    series, rows = np.repeat(np.arange(3), 30), np.tile(np.arange(-5, 25), 3)
    expected = [pd.date_range(starts[0], periods=60, freq=freq)[s + r] for s in range(3) for r in range(25)]
    got = stamps(starts, freq, series, rows)
    assert got[rows >= 0].tolist() == expected
    for s in range(3):
        own = got[series == s]
        assert own.tolist() == pd.date_range(own[0], periods=30, freq=freq).tolist()


def test_marks_are_the_release_fields():
    index = pd.DatetimeIndex(["2013-01-01 00:00", "2016-12-31 23:00"])
    expected = [[-0.5, 1 / 6 - 0.5, -0.5, -0.5], [0.5, 5 / 6 - 0.5, 0.5, 365 / 365 - 0.5]]
    np.testing.assert_allclose(marks(index, "h"), expected, atol=1e-7)
    assert marks(index, "15min").shape == (2, 5) and marks(index, "s").shape == (2, 6)
    assert [marks(index, f).shape[1] for f in ("D", "B", "W-MON", "MS", "QS", "YS")] == [3, 3, 2, 1, 1, 1]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("freq", "name"), [("h", "h"), ("min", "min"), ("D", "D"), ("B", "B"), ("W", "W"), ("MS", "M")]
)
def test_marks_equal_gluonts(freq, name):
    from gluonts.time_feature import time_features_from_frequency_str

    index = pd.date_range("2019-01-01", periods=500, freq=freq)
    fields = [f(index) for f in time_features_from_frequency_str(name)]
    ours = marks(index, freq)
    # gluonts 0.17 lists hour, weekday, day, day of the year for h; the others have the same fields here.
    assert len(fields) == ours.shape[1]
    np.testing.assert_allclose(ours, np.stack(fields, 1), atol=1e-6)


def test_cyclic_is_continuous_over_midnight_week_and_year():
    index = pd.date_range("2019-12-20", "2020-01-10", freq="15min")
    features = cyclic(index, "15min")
    assert features.shape == (len(index), 7) and features.dtype == np.float32
    assert np.abs(np.diff(features[:, :6], axis=0)).max() < 0.07
    assert set(index.day_name()[features[:, 6] == 1]) == {"Saturday", "Sunday"}


def test_scaler_pools_training_rows_and_restores():
    p = panel()
    scaler = Scaler.fit(p, torch.tensor([[1, 4], [0, 2]]))
    rows = p.values[[1, 2, 3, 5, 6]].double().numpy()
    np.testing.assert_allclose(scaler.loc, rows.mean(0))
    np.testing.assert_allclose(scaler.scale, rows.std(0))
    scaled = scaler.transform(p)
    np.testing.assert_allclose(scaled.numpy(), (p.values.numpy() - rows.mean(0)) / rows.std(0), rtol=1e-6)
    torch.testing.assert_close(scaler.restore(scaled[:, :1]), p.values[:, :1])
    quantiles = scaled[:, :1, None].expand(-1, -1, 3)
    torch.testing.assert_close(scaler.restore(quantiles, dim=1)[:, 0, 2], p.values[:, 0])


def test_scaler_ignores_missing_and_keeps_a_constant_column():
    values = torch.full((8, 3), 0.1)
    values[:, 0] = torch.tensor([1, NAN, 3, 1, 3, 1, NAN, 3])
    values[2, 1] = NAN
    scaler = Scaler.fit(panel(values=values))
    assert scaler.loc[0] == 2 and scaler.scale == (1, 1, 1)
    scaled = scaler.transform(panel(values=values))
    assert scaled[0, 2].abs() < 1e-7 and scaled[2, 1].isnan() and scaled[0, 1].isfinite()
    torch.testing.assert_close(scaler.restore(torch.zeros(1, 1)), torch.tensor([[2.0]]))


def test_scaler_names_an_empty_column_and_other_columns():
    values = torch.zeros(8, 3)
    values[:, 1] = NAN
    with pytest.raises(UserError, match="column p: has no value in the training rows"):
        Scaler.fit(panel(values=values))
    scaler = Scaler.fit(panel())
    with pytest.raises(UserError, match="fitted on y, p, f"):
        scaler.transform(panel(past_only=("other",)))


def test_splits():
    p = panel((100, 50))
    parts = proportions(p)
    assert [part.tolist() for part in parts] == [[[0, 70], [0, 35]], [[70, 80], [35, 40]], [[80, 100], [40, 50]]]
    assert [part.tolist() for part in last_rows(p, 10, 60)] == [
        [[0, 30], [0, 0]],
        [[30, 40], [0, 0]],
        [[40, 100], [0, 50]],
    ]
    with pytest.raises(ValueError, match="more than 1"):
        proportions(p, 0.9, 0.2)
