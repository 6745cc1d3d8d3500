import time

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from apps.timeseries.data.calendar import cyclic, marks
from apps.timeseries.data.scaler import Scaler
from apps.timeseries.data.series import Panel
from apps.timeseries.data.splits import everything, horizon, proportions
from apps.timeseries.data.windows import WindowDataset, as_is
from core.errors import UserError

NAN = float("nan")


def panel(lengths=(60, 45, 70), future=0, seed=0) -> Panel:
    """Two targets, one past-only and two known-future covariates; `future` rows without targets at the ends."""
    generator = torch.Generator().manual_seed(seed)
    rows = sum(lengths)
    values = torch.randn(rows, 5, generator=generator) * 3 + 1
    values[torch.rand(rows, generator=generator) < 0.1, 0] = NAN
    offsets = torch.tensor([0, *np.cumsum(lengths).tolist()])
    for end in offsets[1:]:
        values[end - future - 1, :2] = 1.0
        if future:
            values[end - future : end, :3] = NAN
    return Panel(
        values,
        offsets,
        tuple(f"item-{k}" for k in range(len(lengths))),
        np.datetime64("2020-03-01T00", "ns") + np.arange(len(lengths)) * np.timedelta64(5, "h"),
        "h",
        ("y", "z"),
        ("p",),
        ("f", "g"),
        torch.randn(len(lengths), 1, generator=generator),
        ("s",),
        torch.arange(len(lengths))[:, None],
        {"c": tuple("abc"[: len(lengths)])},
    )


def sliced(p: Panel, scaler: Scaler, item: int, start: int, length: int, covariates: int, steps: int) -> dict:
    """One window cut by hand, padding included: the slow reference."""
    rows = (scaler.transform(p)[p.offsets[item] : p.offsets[item + 1]]).nan_to_num(nan=0.0)
    seen = p.observed[p.offsets[item] : p.offsets[item + 1]]

    def cut(x, first, last):
        out = x.new_zeros(last - first, x.shape[1])
        for k, row in enumerate(range(first, last)):
            if 0 <= row < len(x):
                out[k] = x[row]
        return out

    index = pd.date_range(p.starts[item], periods=4000, freq="h") - pd.Timedelta(hours=2000)
    return {
        "past_target": cut(rows, start - length, start)[:, :2],
        "past_observed_values": cut(seen, start - length, start),
        "future_target": cut(rows, start, start + steps)[:, :2],
        "future_observed_values": cut(seen, start, start + steps),
        "past_feat_dynamic_real": cut(rows, start - covariates, start)[:, 2:3],
        "feat_dynamic_real": cut(rows, start - covariates, start + steps)[:, 3:],
        "time_feat": torch.from_numpy(cyclic(index[2000 + start - covariates : 2000 + start + steps], "h")),
        "feat_static_real": scaler.transform_static(p)[item],
        "feat_static_cat": p.categories[item],
        "item": torch.tensor(item),
        "forecast_start": torch.tensor(start),
    }


@pytest.mark.parametrize("covariate_length", [None, 4, 20])
@pytest.mark.parametrize("stride", [1, 7])
def test_a_batch_equals_slices(covariate_length, stride):
    p = panel()
    scaler = Scaler.fit(p)
    part = torch.tensor([[0, 60], [12, 45], [50, 70]])
    data = WindowDataset(
        p,
        part,
        scaler,
        context_length=12,
        prediction_length=6,
        covariate_length=covariate_length,
        time_features=cyclic,
        stride=stride,
    )
    batch = data.__getitems__(list(range(len(data))))
    back = max(12, covariate_length or 12)
    expected = [
        (item, start)
        for item, (begin, end) in enumerate(part.tolist())
        for start in range(begin, end - 5)
        if start >= back and (start - begin) % stride == 0
    ]
    assert list(zip(batch["item"].tolist(), batch["forecast_start"].tolist(), strict=True)) == expected
    for k, (item, start) in enumerate(expected):
        for name, value in sliced(p, scaler, item, start, 12, covariate_length or 12, 6).items():
            torch.testing.assert_close(batch[name][k], value, msg=f"{name} of window {k}", rtol=0, atol=1e-6)
    assert {name: value.dtype for name, value in batch.items()} == {
        "past_target": torch.float32,
        "past_observed_values": torch.bool,
        "future_target": torch.float32,
        "future_observed_values": torch.bool,
        "past_feat_dynamic_real": torch.float32,
        "feat_dynamic_real": torch.float32,
        "time_feat": torch.float32,
        "feat_static_real": torch.float32,
        "feat_static_cat": torch.int64,
        "item": torch.int64,
        "forecast_start": torch.int64,
    }


def test_loader_single_item_and_tensor_index_agree():
    p = panel()
    data = WindowDataset(p, everything(p), Scaler.fit(p), context_length=12, prediction_length=6)
    batches = list(DataLoader(data, batch_size=16, collate_fn=as_is))
    joined = torch.cat([batch["past_target"] for batch in batches])
    assert joined.shape == (len(data), 12, 2)
    assert torch.equal(joined[5], data[5]["past_target"]) and torch.equal(joined[-1], data[-1]["past_target"])
    picked = torch.tensor([3, 3, 9])
    assert torch.equal(data.__getitems__(picked)["past_target"], joined[picked])
    with pytest.raises(IndexError):
        data[len(data)]


def test_absent_columns_have_no_key():
    p = Panel(
        torch.randn(50, 1),
        torch.tensor([0, 50]),
        ("a",),
        np.array(["2020-01-01"], dtype="datetime64[ns]"),
        "h",
        ("y",),
    )
    batch = WindowDataset(p, everything(p), Scaler.fit(p), context_length=8, prediction_length=2).__getitems__([0])
    assert set(batch) == {
        "past_target",
        "past_observed_values",
        "future_target",
        "future_observed_values",
        "item",
        "forecast_start",
    }


def test_paper_protocol_counts():
    n = 52_416
    p = Panel(
        torch.randn(n, 1),
        torch.tensor([0, n]),
        ("a",),
        np.array(["2013-01-01"], dtype="datetime64[ns]"),
        "h",
        ("y",),
    )
    scaler = Scaler.fit(p)
    lengths = {"context_length": 168, "prediction_length": 24}
    parts = proportions(p)
    assert [len(WindowDataset(p, part, scaler, **lengths)) for part in parts] == [36_500, 5_219, 10_460]
    validation = WindowDataset(p, parts.validation, scaler, **lengths)[0]
    assert int(validation["forecast_start"]) == 36_691, "the look-back reaches into the part before"
    expected = scaler.transform(p)[36_691 - 168 : 36_691]
    assert torch.equal(validation["past_target"], expected)


def test_prediction_pads_short_series_and_takes_future_covariates():
    p = panel((60, 9, 70), future=6)
    scaler = Scaler.fit(p)
    data = WindowDataset(
        p,
        horizon(p, 6),
        scaler,
        context_length=12,
        prediction_length=6,
        time_features=cyclic,
        stride=6,
        minimum_history=1,
    )
    batch = data.__getitems__([0, 1, 2])
    assert batch["forecast_start"].tolist() == [54, 3, 64]
    for k in range(3):
        for name, value in sliced(p, scaler, k, [54, 3, 64][k], 12, 12, 6).items():
            torch.testing.assert_close(batch[name][k], value, msg=name, rtol=0, atol=1e-6)
    assert not batch["past_observed_values"][1, :9].any() and batch["past_observed_values"][1, 9:, 1].all()
    assert not batch["future_observed_values"].any()
    assert all(value.isfinite().all() for value in batch.values())


def test_prediction_without_known_covariates_needs_no_future_rows():
    p = Panel(
        torch.randn(50, 1),
        torch.tensor([0, 50]),
        ("a",),
        np.array(["2020-01-01"], dtype="datetime64[ns]"),
        "MS",
        ("y",),
    )
    data = WindowDataset(
        p,
        horizon(p, 12),
        Scaler.fit(p),
        context_length=24,
        prediction_length=12,
        time_features=marks,
        minimum_history=1,
    )
    batch = data.__getitems__([0])
    assert len(data) == 1 and batch["time_feat"].shape == (1, 36, 1)
    torch.testing.assert_close(batch["time_feat"][0, 24:, 0], (torch.arange(12) + 2) % 12 / 11 - 0.5)


def windows(p: Panel, part=None, **changes) -> WindowDataset:
    arguments = {"context_length": 12, "prediction_length": 6, "minimum_history": 1, "stride": 6} | changes
    return WindowDataset(p, horizon(p, 6) if part is None else part, Scaler.fit(p), **arguments)


def test_a_horizon_that_ends_too_early_is_named():
    p = panel((60, 45), future=4)
    with pytest.raises(
        UserError, match=r"series 'item-0'.*known-future columns f, g end before 2020-03-03 12:00.*reaches"
    ):
        windows(p)


def test_a_missing_known_value_in_the_horizon_is_named():
    p = panel((60, 45), future=6)
    p.values[60 + 45 - 2, 4] = NAN
    with pytest.raises(UserError, match=r"series 'item-1', 2020-03-03 00:00: the known-future column g has no value"):
        windows(p)


def test_a_missing_past_value_is_named_but_not_beyond_the_last_forecast():
    p = panel((60, 45), future=6)
    assert p.values[58, 2].isnan() and len(windows(p)) == 2
    p.values[50, 2] = NAN
    with pytest.raises(UserError, match=r"series 'item-0', 2020-03-03 02:00: the past-only column p has no value"):
        windows(p)


def test_short_series_are_left_out_with_a_warning_and_refused_if_all_are():
    p = panel((60, 15, 70))
    with pytest.warns(UserWarning, match=r"1 of 3 series, 'item-1' first, are shorter than look-back 12 \+ forecast 6"):
        data = windows(p, everything(p), minimum_history=None, stride=1)
    assert set(data.__getitems__(range(len(data)))["item"].tolist()) == {0, 2}
    with pytest.raises(UserError, match=r"no series is long enough .* 100 .* the longest, 'item-2', has 70 rows"):
        windows(p, everything(p), minimum_history=None, context_length=100)


def test_a_constant_series_stays_finite():
    p = panel((60,))
    p.values[:] = 7.0
    data = windows(p, everything(p), stride=1)
    batch = data.__getitems__(range(len(data)))
    assert all(value.isfinite().all() for value in batch.values())
    assert not batch["past_target"].any()


@pytest.mark.parametrize("name", ["context_length", "prediction_length", "covariate_length", "stride"])
def test_lengths_below_one_are_refused(name):
    p = panel((60,))
    with pytest.raises(ValueError, match=f"{name} 0"):
        windows(p, everything(p), **{name: 0})


def test_the_table_is_not_copied_for_its_windows():
    p = panel((2000,))
    data = windows(p, everything(p), stride=1, context_length=168, minimum_history=None)
    assert data._windows.untyped_storage().nbytes() <= 2000 * 5 * 4


class Sliced(torch.utils.data.Dataset):
    """Samples as the releases of the TimeXer line make them: slices of float64 arrays, collated by the loader."""

    def __init__(self, rows: int, length: int, steps: int) -> None:
        self.values, self.marks = np.random.default_rng(0).standard_normal((2, rows, 4))
        self.length, self.steps = length, steps

    def __len__(self) -> int:
        return len(self.values) - self.length - self.steps + 1

    def __getitem__(self, begin: int) -> tuple:
        end = begin + self.length
        decoder = slice(end - 48, end + self.steps)
        return self.values[begin:end, :3], self.values[decoder, :3], self.marks[begin:end], self.marks[decoder]


@pytest.mark.parametrize("batch_size", [4, 32])
def test_four_times_faster_than_slices(batch_size):
    rows, count = 5000, 300
    p = Panel(
        torch.randn(rows, 3),
        torch.tensor([0, rows]),
        ("a",),
        np.array(["2020-01-01"], dtype="datetime64[ns]"),
        "h",
        ("y",),
        (),
        ("f", "g"),
    )
    lengths = {"context_length": 168, "prediction_length": 24}
    ours = WindowDataset(p, everything(p), Scaler.fit(p), time_features=marks, **lengths)
    order = torch.randperm(len(ours)).tolist()
    batches = [[order[(k * batch_size + j) % len(order)] for j in range(batch_size)] for k in range(count)]
    theirs = DataLoader(Sliced(rows, 168, 24), batch_sampler=batches)

    def seconds(run) -> float:
        begin = time.process_time()
        run()
        return time.process_time() - begin

    def gather():
        for batch in batches:
            ours.__getitems__(batch)

    def slices():
        for batch in theirs:
            [value.float() for value in batch]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        pairs = [(seconds(gather), seconds(slices)) for _ in range(7)]
    finally:
        torch.set_num_threads(threads)
    fast, slow = (min(times) for times in zip(*pairs, strict=True))
    assert slow > 4 * fast, f"{slow / fast:.1f} times"
