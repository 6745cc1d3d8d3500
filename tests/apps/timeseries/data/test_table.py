"""Every way a user's table can be wrong, one test each: the sentence names file, row, column, value and remedy."""

import gzip

import numpy as np
import pandas as pd
import pytest

from apps.timeseries.data.scaler import Scaler
from apps.timeseries.data.splits import everything, horizon
from apps.timeseries.data.table import Columns, read_table, read_wide
from apps.timeseries.data.windows import WindowDataset
from core.errors import UserError

Y = Columns("y")
FULL = Columns("y", item_id="item_id", known_future=["wind"], past_only=["load"])


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "prices.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def hourly(values, first="2013-01-01 00:00", name="y") -> str:
    index = pd.date_range(first, periods=len(values), freq="h").strftime("%Y-%m-%d %H:%M")
    return f"timestamp,{name}\n" + "".join(f"{t},{v}\n" for t, v in zip(index, values, strict=True))


def frame(items=("A", "B"), hours=10, future=0) -> pd.DataFrame:
    index = pd.date_range("2013-01-01", periods=hours + future, freq="h")
    count = hours + future
    parts = [
        pd.DataFrame(
            {
                "item_id": item,
                "timestamp": index,
                "y": [1.5 * k + 10 * s if k < hours else np.nan for k in range(count)],
                "load": [k % 5 + 0.5 if k < hours else np.nan for k in range(count)],
                "wind": np.arange(count) % 7 * 1.0,
            }
        )
        for s, item in enumerate(items)
    ]
    return pd.concat(parts, ignore_index=True)


def save(table: pd.DataFrame, tmp_path, name="prices.csv"):
    path = tmp_path / name
    if name.endswith("parquet"):
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, date_format="%Y-%m-%d %H:%M")
    return path


def message(path, columns=Y, **options) -> str:
    with pytest.raises(UserError) as caught:
        read_table(path, columns, **options)
    text = str(caught.value)
    assert "\n" not in text and text.endswith((".", "?")), text
    return text


# What is read


@pytest.mark.parametrize("name", ["prices.csv", "prices.csv.gz", "prices.parquet"])
def test_a_long_table(tmp_path, name):
    table = frame()
    panel = read_table(save(table, tmp_path, name), FULL)
    assert panel.item_ids == ("A", "B") and panel.freq == "h" and panel.source == name
    assert panel.columns == ("y", "load", "wind") and panel.lengths.tolist() == [10, 10]
    np.testing.assert_array_equal(panel.values.numpy(), table[["y", "load", "wind"]].to_numpy(dtype=np.float32))
    assert panel.starts.tolist() == np.array(["2013-01-01"] * 2, dtype="datetime64[ns]").tolist()


def test_names_are_found_and_spaces_around_them_go(write):
    panel = read_table(
        write("date, Grid load, OT\n2013/1/1 0:00,5,1\n2013/1/1 1:00,6,2\n2013/1/1 2:00,7,3\n"),
        Columns("OT", known_future="Grid load"),
    )
    assert panel.columns == ("OT", "Grid load") and panel.values[:, 0].tolist() == [1, 2, 3]
    assert panel.item_ids == ("prices",)


def test_columns_in_another_order(tmp_path):
    table = frame()
    one = read_table(save(table, tmp_path), FULL)
    two = read_table(save(table[table.columns[::-1]], tmp_path, "other.csv"), FULL)
    np.testing.assert_array_equal(one.values.numpy(), two.values.numpy())


def test_unsorted_rows_are_sorted(tmp_path):
    table = frame()
    one = read_table(save(table, tmp_path), FULL)
    two = read_table(save(table.sample(frac=1, random_state=0).sort_values("item_id", kind="stable"), tmp_path), FULL)
    np.testing.assert_array_equal(one.values.numpy(), two.values.numpy())


def test_series_of_unequal_length_and_dates(tmp_path):
    panel = read_table(save(frame().drop(index=[0, 1, 18, 19]), tmp_path), FULL)
    assert panel.lengths.tolist() == [8, 8]
    assert (panel.starts == np.array(["2013-01-01T02", "2013-01-01T00"], dtype="datetime64[ns]")).all()


def test_an_empty_target_is_a_missing_value(write):
    panel = read_table(write(hourly([1, "", "NaN", "NA", 5])), Y)
    assert panel.observed[:, 0].tolist() == [True, False, False, False, True]


def test_negative_prices_zeros_and_spikes_stay(write):
    panel = read_table(write(hourly([-221.99, 0, 2999, 40.5, 41])), Y)
    np.testing.assert_array_equal(panel.values[:, 0].numpy(), np.float32([-221.99, 0, 2999, 40.5, 41]))


def test_true_and_false_are_numbers(write):
    text = "timestamp,y,holiday\n" + "".join(f"2013-01-01 0{k}:00,{k},{k == 2}\n" for k in range(4))
    assert read_table(write(text), Columns("y", known_future="holiday")).values[:, 1].tolist() == [0, 0, 1, 0]


def test_a_constant_series_gives_finite_windows(write):
    panel = read_table(write(hourly([7] * 20)), Y)
    data = WindowDataset(panel, everything(panel), Scaler.fit(panel), context_length=4, prediction_length=2)
    assert not data.__getitems__([0])["past_target"].any() and Scaler.fit(panel).loc == (7.0,)


def test_semicolons_and_decimal_comma(write):
    text = "timestamp;y\n01.02.2013 00:00;1,5\n01.02.2013 01:00;-2\n01.02.2013 02:00;1e3\n"
    panel = read_table(write(text), Y, decimal=",")
    assert panel.values[:, 0].tolist() == [1.5, -2, 1000]
    assert panel.starts[0] == np.datetime64("2013-02-01")


def test_blank_lines_are_skipped_but_counted(write):
    text = hourly([1, 2, 3, "x"]).replace("\n2013-01-01 02", "\n\n2013-01-01 02") + "\n\n"
    assert message(write(text)).startswith("prices.csv row 6 column y: 'x' is not a number")


def test_statics_and_their_vocabulary(tmp_path):
    table = frame().assign(region=["north"] * 10 + ["east"] * 10, size=[1.5] * 10 + [2.5] * 10)
    columns = Columns("y", static_cat="region", static_real="size")
    panel = read_table(save(table, tmp_path), columns)
    assert panel.vocabulary == {"region": ("east", "north")} and panel.categories.tolist() == [[1], [0]]
    assert panel.reals.tolist() == [[1.5], [2.5]]
    again = read_table(save(table.iloc[10:], tmp_path), columns, vocabulary=panel.vocabulary)
    assert again.categories.tolist() == [[0]]


@pytest.mark.parametrize("freq", ["15min", "h", "D", "B", "W-THU", "MS", "ME", "QS-FEB", "YS-JAN"])
def test_the_frequency_is_inferred(tmp_path, freq):
    index = pd.date_range("2015-01-01", periods=40, freq=freq)
    panel = read_table(save(pd.DataFrame({"timestamp": index, "y": np.arange(40.0)}), tmp_path), Y)
    assert panel.freq == freq and panel.stamps(0).tolist() == index.tolist()


def test_days_without_signs(write):
    panel = read_table(write(dates("20130101", "20130102", "20130103")), Y)
    assert panel.freq == "D" and panel.starts[0] == np.datetime64("2013-01-01")


def test_decimals_of_a_parquet_file_need_no_decimal_sign(tmp_path):
    from decimal import Decimal

    table = pd.DataFrame(
        {"timestamp": pd.date_range("2013", periods=3, freq="D"), "y": [Decimal("1.5"), None, Decimal(2)]}
    )
    panel = read_table(save(table, tmp_path, "p.parquet"), Y, decimal=",")
    assert panel.values[0, 0] == 1.5 and panel.observed[:, 0].tolist() == [True, False, True]


def test_a_category_of_spaces_is_empty(tmp_path):
    table = frame().assign(region=" ")
    assert "row 1 column region: is empty" in message(
        save(table, tmp_path, "p.parquet"), Columns("y", static_cat="region")
    )
    table["region"] = ["north "] * 5 + ["north"] * 15
    panel = read_table(save(table, tmp_path, "p.parquet"), Columns("y", static_cat="region"))
    assert panel.vocabulary == {"region": ("north",)}


def test_years_alone(write):
    panel = read_table(
        write("year,y\n" + "".join(f"{year},{year}\n" for year in range(1990, 2000))), Columns("y", timestamp="year")
    )
    assert panel.freq == "YS-JAN" and len(panel.values) == 10


# Roles


def test_target_among_the_covariates():
    for role in ("known_future", "past_only"):
        with pytest.raises(UserError, match=f"column y: is the target and also listed in {role}; remove it there"):
            Columns("y", **{role: ["x", "y"]})


def test_a_covariate_in_two_roles():
    with pytest.raises(UserError, match="column w: listed as known_future and as past_only; keep it"):
        Columns("y", known_future=["w"], past_only=["w"])
    with pytest.raises(UserError, match="column w: listed as target and static_real; a column has one role"):
        Columns("w", static_real=["w"])
    with pytest.raises(UserError, match="target: no column named"):
        Columns([])


def test_a_missing_column_names_the_nearest(write):
    text = message(write(hourly([1, 2, 3], name="Grid load")), Columns("Grid laod"))
    assert text == (
        "prices.csv: has no column 'Grid laod' (named in --data.target); its columns are timestamp, Grid load. "
        "Did you mean Grid load?"
    )


def test_no_time_stamp_column(write):
    assert "no time stamp column (timestamp, date," in message(write("a,y\n1,2\n"))


def test_the_time_stamp_as_covariate(write):
    assert "column timestamp" in message(write(hourly([1, 2, 3])), Columns("y", known_future=["timestamp"]))


def test_a_used_column_twice(write):
    assert message(write("timestamp,y,y\n2013-01-01,1,2\n")) == (
        "prices.csv: has the column 'y' twice; rename or remove one."
    )


# Time


def test_duplicate_stamps(tmp_path):
    path = save(pd.concat([frame(("A",)), frame(("A",)).iloc[[3]]]), tmp_path)
    assert message(path, FULL) == (
        "prices.csv row 12: timestamp 2013-01-01 03:00 appears twice (daylight saving?); remove one or pass "
        "--data.duplicates mean."
    )
    two = frame()
    two.loc[15, "timestamp"] = two.loc[14, "timestamp"]
    assert "row 17: timestamp 2013-01-01 04:00 of series 'B' appears twice" in message(save(two, tmp_path), FULL)


def test_duplicates_mean(tmp_path):
    table = frame(("A",))
    extra = table.iloc[[3]].assign(y=100.0, load=np.nan)
    panel = read_table(save(pd.concat([table, extra]), tmp_path), FULL, duplicates="mean")
    assert panel.lengths.tolist() == [10]
    assert panel.values[3].tolist() == [(4.5 + 100) / 2, 3.5, 3.0], "an empty value does not count"


def test_a_gap(tmp_path):
    path = save(frame().drop(index=[13, 14]), tmp_path)
    assert message(path, FULL) == (
        "prices.csv row 15: 2 steps are missing between 2013-01-01 02:00 and 2013-01-01 05:00 of series 'B' "
        "(frequency h; daylight saving?); add the rows or pass --data.gaps fill."
    )
    panel = read_table(path, FULL, gaps="fill")
    assert panel.lengths.tolist() == [10, 10]
    assert not panel.observed[13:15].any() and panel.observed.sum() == 18
    np.testing.assert_array_equal(panel.values[12:16, 1:].numpy(), [[2.5, 2], [2.5, 2], [2.5, 2], [0.5, 5]])


def test_a_gap_of_a_lifetime_is_not_filled(write):
    path = write(hourly([1, 2, 3, 4]) + "2199-01-01 00:00,5\n")
    assert "filling the gaps would make 1,630,441 rows of 5" in message(path, gaps="fill")


def test_a_stamp_between_the_steps(write):
    text = message(write(hourly([1, 2, 3, 4]) + "2013-01-01 04:30,5\n"))
    assert text.startswith("prices.csv row 6: timestamp 2013-01-01 04:30 of series 'prices' is not on its axis")


def test_a_month_off_its_axis(tmp_path):
    index = pd.date_range("2015-01-01", periods=30, freq="MS").to_series()
    index.iloc[20] += pd.Timedelta("1D")
    path = save(pd.DataFrame({"timestamp": index, "y": 1.0}), tmp_path)
    assert "row 22: timestamp 2016-09-02 00:00" in message(path, freq="MS")


def test_too_few_rows_for_a_frequency(write):
    for values in ([1], [1, 2]):
        assert message(write(hourly(values))) == (
            f"prices.csv row 2: the frequency cannot be inferred from {len(values)} rows a series; pass it, for "
            "example --data.freq h."
        )
        assert len(read_table(write(hourly(values)), Y, freq="h").values) == len(values)


def test_series_of_different_frequency(tmp_path):
    daily = frame(("B",)).assign(timestamp=pd.date_range("2013-01-01", periods=10, freq="D"))
    path = save(pd.concat([frame(("A",)), daily]), tmp_path)
    assert message(path, FULL) in (
        "prices.csv row 12: series 'B' has a row every D, series 'A' every h; bring them to one frequency or read them "
        "apart.",
        "prices.csv row 2: series 'A' has a row every h, series 'B' every D; bring them to one frequency or read them "
        "apart.",
    )


@pytest.mark.parametrize("freq", ["H", "hourly", "-1h", "0h", ""])
def test_a_freq_pandas_does_not_know(write, freq):
    assert message(write(hourly([1, 2, 3])), freq=freq).startswith(f"--data.freq {freq!r}: ")


@pytest.mark.parametrize("bad", ["yesterday", "2013-13-01 02:00", "27.10.2013", "2013-01-01 25:00", "1356998400"])
def test_an_unparsable_or_other_date(write, bad):
    text = message(write(hourly([1, 2]) + f"{bad},3\n"))
    assert text == (
        f"prices.csv row 4 column timestamp: {bad!r} is not a date written like the first, '2013-01-01 00:00'; write "
        "all stamps like 2013-10-27 02:00."
    )


def test_no_date_at_all(write):
    assert "row 2 column timestamp: '1356998400' is not a date" in message(write("timestamp,y\n1356998400,3\n"))
    assert "row 3 column timestamp: the time stamp is empty" in message(write("timestamp,y\n2013-01-01,3\n,4\n"))
    assert "row 2 column timestamp: '2999' is not a date" in message(write("timestamp,y\n2999,3\n"))


def test_a_year_out_of_range(tmp_path):
    table = pd.DataFrame({"timestamp": np.array(["2013-01-01", "2999-01-01"], dtype="datetime64[us]"), "y": 1.0})
    assert message(save(table, tmp_path, "p.parquet")) == (
        "p.parquet row 2 column timestamp: the year 2999 is outside 1700 to 2200; correct or remove the row."
    )


def dates(*texts: str) -> str:
    return "timestamp,y\n" + "".join(f"{text},{k}\n" for k, text in enumerate(texts))


def test_day_first_is_never_guessed(write):
    ambiguous = write(dates("03/01/2013", "04/01/2013", "05/01/2013"))
    assert message(ambiguous) == (
        "prices.csv row 2 column timestamp: '03/01/2013' can be day or month first, and so can all others; pass "
        "--data.dayfirst true or false."
    )
    assert read_table(ambiguous, Y, dayfirst=True).starts[0] == np.datetime64("2013-01-03")
    assert read_table(ambiguous, Y, dayfirst=False, freq="MS").freq == "MS"
    decided = read_table(write(dates("11/01/2013", "12/01/2013", "13/01/2013")), Y)
    assert decided.freq == "D" and decided.starts[0] == np.datetime64("2013-01-11")
    american = read_table(write(dates("01/11/2013", "01/12/2013", "01/13/2013")), Y)
    assert american.starts[0] == np.datetime64("2013-01-11")
    both = message(write(dates("01/11/2013", "01/13/2013", "13/01/2013")))
    assert "is not a date written like the first" in both
    assert read_table(write(dates("01.11.2013", "02.11.2013", "03.11.2013")), Y).starts[0] == np.datetime64(
        "2013-11-01"
    )


@pytest.mark.parametrize(
    "texts",
    [
        ("2013-01-01", "2013-01-01 01:00", "2013-01-01T02:00:00"),
        ("2013/1/1 0:00", "2013/1/1 1:00", "2013/1/1 2:00"),
        ("2013-01-01 00:00:00.000", "2013-01-01 01:00:00.000", "2013-01-01 02:00:00.000"),
        ("1.1.2013 00:00:00", "1.1.2013 01:00:00", "1.1.2013 02:00:00"),
        ("01/13/2013 12:00 AM", "01/13/2013 01:00 AM", "01/13/2013 02:00 AM"),
        ("2013-01-01T00:00Z", "2013-01-01T01:00Z", "2013-01-01T02:00Z"),
    ],
)
def test_notations(write, texts):
    panel = read_table(write(dates(*texts)), Y)
    assert panel.freq == "h" and panel.stamps(0)[0].hour == 0


def test_a_constant_zone_is_dropped(tmp_path, write):
    panel = read_table(write(dates(*(f"2013-01-01 0{k}:00+05:30" for k in range(3)))), Y)
    assert panel.starts[0] == np.datetime64("2013-01-01T00:00"), "wall time as written"
    table = frame(("A",)).assign(timestamp=pd.date_range("2013-01-01", periods=10, freq="h", tz="UTC"))
    assert read_table(save(table, tmp_path, "p.parquet"), FULL).starts[0] == np.datetime64("2013-01-01")


def berlin(start: str, hours: int = 6) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=hours, freq="h", tz="UTC").tz_convert("Europe/Berlin")


@pytest.mark.parametrize("name", ["zoned.csv", "zoned.parquet"])
def test_daylight_saving_needs_a_zone(tmp_path, name):
    table = pd.DataFrame({"timestamp": berlin("2013-10-26 22:00"), "y": np.arange(6.0)})
    path = tmp_path / name
    table.to_parquet(path) if name.endswith("parquet") else table.to_csv(path, index=False)
    row = 4 if name.endswith("parquet") else 5
    assert message(path) == (
        f"{name} row {row} column timestamp: the time zone changes from UTC+2 h to UTC+1 h; pass --data.timezone UTC, "
        "or a name like Europe/Berlin for local hours."
    )
    assert read_table(path, Y, timezone="UTC").starts[0] == np.datetime64("2013-10-26T22:00")
    fall = "timestamp 2013-10-27 02:00 appears twice (daylight saving?)"
    assert fall in message(path, timezone="Europe/Berlin")
    local = read_table(path, Y, timezone="Europe/Berlin", duplicates="mean")
    assert local.values[:, 0].tolist() == [0, 1, 2.5, 4, 5]
    table["timestamp"] = berlin("2013-03-30 23:00")
    table.to_parquet(tmp_path / "spring.parquet")
    assert "1 step is missing between 2013-03-31 01:00 and 2013-03-31 03:00" in message(
        tmp_path / "spring.parquet", timezone="Europe/Berlin"
    )


def test_zones_that_make_no_sense(write):
    path = write(dates(*(f"2013-01-01 0{k}:00" for k in range(3))))
    assert "--data.timezone UTC has no effect" in message(path, timezone="UTC")
    zoned = write(dates(*(f"2013-01-01 0{k}:00+01:00" for k in range(3))), "zoned.csv")
    assert message(zoned, timezone="Mars/Base").startswith("--data.timezone 'Mars/Base': is no known time zone")
    mixed = message(write(dates("2013-01-01 00:00+01:00", "2013-01-01 01:00")))
    assert "'2013-01-01 01:00' has no time zone but '2013-01-01 00:00+01:00' has" in mixed
    mixed = message(write(dates("2013-01-01 00:00", "2013-01-01 01:00+01:00")))
    assert "row 3 column timestamp: '2013-01-01 01:00+01:00' is not a date written like the first" in mixed


# Numbers


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("n.a.", "'n.a.' is not a number; write a number, or leave it empty if missing."),
        ("12 EUR", "'12 EUR' is not a number"),
        ("1_000", "'1_000' is not a number"),
        ("0x1F", "'0x1F' is not a number"),
        ('"1,234"', "'1,234' has a thousands separator or a decimal comma"),
        ('"1,234.5"', "'1,234.5' has a thousands separator; write numbers without."),
        ("1.234.567", "'1.234.567' has a thousands separator"),
        ("1'234.5", "has a thousands separator"),
        ('"12,5"', "'12,5' has a decimal comma; pass --data.decimal ,."),
        ("inf", "is infinite; write a number, or leave it empty if missing."),
        ("-Infinity", "is infinite"),
        ("1e999", "is infinite"),
        ("1e39", "1e+39 is too large for single precision (3.4e38); use larger units"),
        ("9" * 45, "is too large for single precision"),
    ],
)
def test_what_is_no_number(write, bad, said):
    text = message(write(hourly([1, 2, bad, 4])))
    assert text.startswith("prices.csv row 4 column y: ") and said in text


def test_a_dot_beside_decimal_commas(write):
    text = message(write("timestamp;y\n2013-01-01;1,5\n2013-01-02;1.234,5\n"), decimal=",")
    assert text.startswith("prices.csv row 3 column y: '1.234,5' has a thousands separator")
    text = message(write("timestamp;y\n2013-01-01;1.5\n2013-01-02;2.5\n"), decimal=",")
    assert text.startswith("prices.csv row 2 column y: '1.5' has a dot, but the decimal sign is ','")


def test_an_unquoted_thousands_separator(write):
    assert message(write(hourly([1, 2, "1,234"]))) == (
        "prices.csv row 4: has 3 fields, the header has 2; quote numbers with a comma, or write them without thousands "
        "separators."
    )
    assert "row 2" in message(write(hourly(["1,234", "2,345"])))


def test_integers_too_large_for_their_differences(write):
    text = message(write(hourly([10**15 + k for k in range(5)])))
    assert "column y: its values lie around 1e+15 but differ by only 1.41" in text and "subtract a constant" in text
    assert len(read_table(write(hourly([2**40, 2**41, 2**62, 2**63 + 1])), Y).values) == 4


def test_large_integers_beyond_64_bits_are_numbers(write):
    assert read_table(write(hourly([10**30, 10**25, 1])), Y).values[0, 0] == np.float32(1e30)


# Covariates


@pytest.mark.parametrize(("column", "role"), [("load", "past-only"), ("wind", "known-future")])
def test_a_missing_covariate_in_the_past(tmp_path, column, role):
    table = frame()
    table.loc[[10, 13, 14], column] = np.nan
    path = save(table, tmp_path)
    assert message(path, FULL) == (
        f"prices.csv row 12 column {column}: the {role} covariate has no value at 2013-01-01 00:00 of series 'B'; fill "
        "it, or pass --data.missing fill to carry the last value on."
    )
    filled = read_table(path, FULL, missing="fill")
    values = filled.values[10:, filled.columns.index(column)]
    assert values[[0, 3, 4]].tolist() == values[[1, 2, 2]].tolist()
    table.loc[10:, column] = np.nan
    text = message(save(table, tmp_path), FULL, missing="fill")
    assert text == f"prices.csv column {column}: has no value at all in series 'B'; leave the column out."


def predict(panel, steps=4):
    return WindowDataset(
        panel, horizon(panel, steps), Scaler.fit(panel), context_length=6, prediction_length=steps, minimum_history=1
    )


def test_the_same_table_goes_on_with_empty_targets(tmp_path):
    panel = read_table(save(frame(future=4), tmp_path), FULL)
    assert panel.history.tolist() == [10, 10] and panel.lengths.tolist() == [14, 14]
    assert len(predict(panel)) == 2
    with pytest.raises(
        UserError, match=r"prices.csv: series 'A': the known-future columns wind end before 2013-01-01 14"
    ):
        predict(panel, steps=5)


def test_a_missing_known_value_in_the_horizon(tmp_path):
    table = frame(future=4)
    table.loc[14 + 12, "wind"] = np.nan
    panel = read_table(save(table, tmp_path), FULL, missing="fill")
    with pytest.raises(
        UserError, match=r"series 'B', 2013-01-01 12:00: the known-future column wind has no value there"
    ):
        predict(panel)


def ahead(tmp_path, change=lambda table: table, items=("A", "B")):
    table = frame(items, future=4).drop(columns=["y", "load"])
    return save(change(table[table.timestamp >= "2013-01-01 10:00"]), tmp_path, "future.csv")


def test_a_future_table(tmp_path):
    path = save(frame(), tmp_path)
    one = read_table(path, FULL, future=ahead(tmp_path))
    two = read_table(save(frame(future=4), tmp_path, "whole.csv"), FULL)
    np.testing.assert_array_equal(one.values.numpy(), two.values.numpy())
    assert one.history.tolist() == [10, 10]
    overlapping = save(frame(future=4).drop(columns=["y", "load"]), tmp_path, "future.csv")
    np.testing.assert_array_equal(read_table(path, FULL, future=overlapping).values.numpy(), two.values.numpy())


def test_a_future_table_that_starts_late(tmp_path):
    path = ahead(tmp_path, lambda table: table[table.timestamp != "2013-01-01 10:00"])
    for gaps in ("error", "fill"):
        assert message(save(frame(), tmp_path), FULL, future=path, gaps=gaps) == (
            "future.csv row 2: series 'A' goes on at 2013-01-01 11:00, but its past ends at 2013-01-01 09:00 "
            "(frequency h); add the rows between."
        )


def test_a_future_table_that_ends_early_for_one_series(tmp_path):
    path = ahead(tmp_path, lambda table: table.iloc[:-1])
    panel = read_table(save(frame(), tmp_path), FULL, future=path)
    with pytest.raises(UserError, match=r"series 'B': the known-future columns wind end before 2013-01-01 13:00"):
        predict(panel)


def test_a_future_table_with_other_series(tmp_path):
    text = message(save(frame(), tmp_path), FULL, future=ahead(tmp_path, items=("A",)))
    assert text == "future.csv: has no rows for series 'B'; add its known-future values."
    text = message(save(frame(), tmp_path), FULL, future=ahead(tmp_path, items=("A", "B", "C")))
    assert text.startswith("future.csv row 10: series 'C' has no past in prices.csv; remove its rows")
    text = message(save(frame(), tmp_path), Columns("y"), future=ahead(tmp_path))
    assert text == "future.csv: a future table needs known_future columns; name them."


def test_a_wrong_value_in_the_future_table_names_that_file(tmp_path):
    path = ahead(tmp_path, lambda table: table.assign(wind="high"))
    assert message(save(frame(), tmp_path), FULL, future=path).startswith("future.csv row 2 column wind: 'high'")


def test_a_series_without_target(tmp_path):
    table = frame()
    table.loc[10:, "y"] = np.nan
    text = message(save(table, tmp_path), FULL)
    assert text == "prices.csv: series 'B' has no target value at all; remove or fill it."


def test_an_unseen_category(tmp_path):
    table = frame().assign(region=["north"] * 10 + ["esat"] * 10)
    text = message(save(table, tmp_path), Columns("y", static_cat="region"), vocabulary={"region": ["east", "north"]})
    assert text == (
        "prices.csv row 12 column region: category 'esat' was not in the training data, which knows east, north; "
        "correct it or train with it. Did you mean east?"
    )


def test_a_static_that_changes_or_is_empty(tmp_path):
    table = frame().assign(size=1.0, region="x")
    table.loc[5, "size"] = 2.0
    text = message(save(table, tmp_path), Columns("y", static_real="size"))
    assert text.startswith("prices.csv row 7 column size: changes within series 'A' from")
    table.loc[3, ["size", "region"]] = np.nan
    assert "row 5 column region: is empty" in message(save(table, tmp_path), Columns("y", static_cat="region"))
    table["size"] = table["size"].where(table.index != 5, 1.0)
    assert "row 5 column size: is empty" in message(save(table, tmp_path), Columns("y", static_real="size"))


def test_an_unknown_repair(write):
    for name in ("duplicates", "gaps", "missing"):
        assert f"--data.{name} 'drop': must be 'error' or" in message(write(hourly([1, 2, 3])), **{name: "drop"})


# Files


def test_files_that_are_none(tmp_path, write):
    assert message(tmp_path / "no.csv").endswith("no.csv: no such file.")
    assert "is a folder" in message(tmp_path)
    assert message(write("x", "prices.xlsx")).startswith("prices.xlsx: unknown kind of table; use .csv,")
    assert "row 1: is empty" in message(write(""))
    assert "has a header but no rows" in message(write("timestamp,y\n"))
    assert "cannot be read as a table" in message(write("no parquet", "p.parquet"))


def test_damaged_files(tmp_path, write):
    path = tmp_path / "prices.csv.gz"
    path.write_bytes(gzip.compress(hourly(range(500)).encode())[:200])
    assert "is not a whole gzip file" in message(path)
    path.write_bytes(b"plain")
    assert "is not a whole gzip file" in message(path)
    latin = tmp_path / "latin.csv"
    latin.write_bytes("timestamp,Größe\n2013-01-01,1\n".encode("latin-1"))
    assert "is not UTF-8 text" in message(latin)
    text = message(write('timestamp,y\n2013-01-01,1\n2013-01-01,"1\n'))
    assert text == "prices.csv row 3: opens a quote that is never closed."


# Wide tables


def test_a_wide_table(tmp_path):
    index = pd.date_range("2013-01-01", periods=6, freq="D")
    table = pd.DataFrame({"date": index, "A": np.arange(6.0), "B": [np.nan, 1, 2, np.nan, 4, np.nan], "wind": 1.0})
    panel = read_wide(save(table, tmp_path), Columns(["A", "B"]))
    assert panel.item_ids == ("A", "B") and panel.target == ("target",) and panel.lengths.tolist() == [6, 4]
    assert panel.starts[1] == np.datetime64("2013-01-02") and panel.observed.sum() == 9
    shared = read_wide(save(table, tmp_path), Columns(["A", "B"], known_future="wind"))
    assert shared.lengths.tolist() == [6, 5] and shared.history.tolist() == [6, 4]
    long = table.melt(id_vars=["date"], value_vars=["A", "B"], var_name="item_id", value_name="y").dropna()
    same = read_table(save(long, tmp_path), Columns("y"), gaps="fill")
    np.testing.assert_array_equal(same.values.numpy(), panel.values.numpy())


def test_wide_tables_name_file_and_row_too(tmp_path, write):
    index = pd.date_range("2013-01-01", periods=6, freq="D")
    table = pd.DataFrame({"date": index, "A": np.arange(6.0), "B": np.arange(6.0)})
    with pytest.raises(UserError, match=r"prices.csv row 5: 1 step is missing .* of series 'A'"):
        read_wide(save(table.drop(index=3), tmp_path), Columns(["A", "B"]))
    with pytest.raises(UserError, match=r"series 'B' has no target value at all"):
        read_wide(save(table.assign(B=np.nan), tmp_path), Columns(["A", "B"]))
    with pytest.raises(UserError, match="static_cat cannot be given for a wide table"):
        read_wide(save(table, tmp_path), Columns(["A"], static_cat="B"))
