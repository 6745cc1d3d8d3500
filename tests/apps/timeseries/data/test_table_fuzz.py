"""Whatever the file holds, a reader ends in a sound panel or in one sentence, never in another exception."""

import gzip

import pandas as pd
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from apps.timeseries.data.series import Panel
from apps.timeseries.data.table import Columns, read_table, read_wide
from core.errors import UserError

FUZZ = settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NUMBERS = st.sampled_from(
    """1|2.5|-3|0|1e3|1e39|-inf|NaN|| |NA|x|1,5|"1,5"|"1.234,5"|True|٣|999999999999999999999|1e400|0x10|1_0|"|\x00|-|+
    |.|1e|\ufeff1|None|é""".replace("\n    ", "").split("|")
)
STAMPS = st.sampled_from(
    """2013-01-01|2013-01-02|2013-01-03|2013-01-01 00:00|2013-01-01 01:00|2013-01-01T02:00Z||x|2013-01-01 03:00+02:00
    |2013-01-01 04:00+99:99|03/04/2013|13/04/2013|1.2.2013|2013|2013-02|2013/1/1 0:00|2199-12-31|1500-01-01|9999-12-31
    |0000-00-00|1/1/1 1:1:1.1 PM|20130101|NaT|2013-W01|2013-001|24:00|1356998400|nan|2013-06-31|01/02/2013 10:00 AM
    """.replace("\n    ", "").split("|")
)
ITEMS = st.sampled_from(["A", "B", "A ", "", "NA", "1", "ä", '"a,b"'])
OPTIONS = st.fixed_dictionaries(
    {
        "freq": st.sampled_from([None, None, "h", "D", "MS", "B", "W", "2D", "H", "x", "-1D"]),
        "duplicates": st.sampled_from(["error", "mean"]),
        "gaps": st.sampled_from(["error", "fill"]),
        "missing": st.sampled_from(["error", "fill"]),
        "dayfirst": st.sampled_from([None, True, False]),
        "decimal": st.sampled_from([".", ","]),
        "timezone": st.sampled_from([None, None, "UTC", "Europe/Berlin", "x"]),
    }
)
COLUMNS = Columns("y", "timestamp", "item_id", ["wind"], ["load"], ["size"], ["region"])
HEADER = "item_id,timestamp,y,load,wind,size,region"
ROW = st.tuples(ITEMS, STAMPS, NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["1", "1", "2", ""]), ITEMS)


def sound(make) -> str:
    """'panel' or 'sentence'; anything else raises."""
    try:
        panel = make()
    except UserError as error:
        text = str(error)
        assert text and "\n" not in text and text.rstrip().endswith((".", "?")), text
        return "sentence"
    assert isinstance(panel, Panel) and len(panel) and (panel.history > 0).all()
    assert not panel.values.isinf().any() and panel.values.abs().nan_to_num().max() < 3.5e38
    stamps = [panel.stamps(k) for k in range(len(panel))]
    assert all(index.is_monotonic_increasing and index.is_unique for index in stamps)
    past = sum(int(history) for history in panel.history)
    assert past <= len(panel.values)
    return "panel"


@FUZZ
@given(rows=st.lists(ROW, max_size=8), options=OPTIONS, ragged=st.integers(0, 12))
def test_long_csv(tmp_path, rows, options, ragged):
    lines = [",".join(row) for row in rows]
    if ragged < len(lines):
        lines[ragged] += ",7"
    path = tmp_path / "fuzz.csv"
    path.write_text("\n".join([HEADER, *lines]), encoding="utf-8")
    sound(lambda: read_table(path, COLUMNS, **options))


@FUZZ
@given(
    values=st.lists(st.sampled_from(["1", "2", "3.5", "", "-7", "2999"]), min_size=1, max_size=12),
    freq=st.sampled_from(["h", "15min", "D", "B", "MS", "W-SUN", "YS"]),
    drop=st.integers(0, 30),
    repeat=st.integers(0, 30),
    form=st.sampled_from(
        ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%SZ", "%d.%m.%Y %H:%M", "%d/%m/%Y %H:%M", "%Y/%m/%d %H:%M"]
    ),
    options=OPTIONS,
)
def test_nearly_right_csv(tmp_path, values, freq, drop, repeat, form, options):
    index = pd.date_range("2012-02-10", periods=len(values), freq=freq).strftime(form)
    lines = [f"{t},{v},{k}" for k, (t, v) in enumerate(zip(index, values, strict=True)) if k != drop]
    lines += lines[repeat : repeat + 1]
    path = tmp_path / "near.csv"
    path.write_text("\n".join(["date,y,x", *lines]))
    sound(lambda: read_table(path, Columns("y", known_future="x"), **options))


def test_the_undamaged_table_is_read(tmp_path):
    """Guards the fuzz above: its clean form must be data, not a sentence."""
    path = tmp_path / "clean.csv"
    path.write_text(f"{HEADER}\n" + "".join(f"A,2013-01-0{k} 00:00,{k},1,2,1,r\n" for k in range(1, 5)))
    assert sound(lambda: read_table(path, COLUMNS)) == "panel"


@FUZZ
@given(content=st.binary(max_size=300), name=st.sampled_from(["a.csv", "a.csv.gz", "a.parquet"]), zipped=st.booleans())
def test_any_bytes(tmp_path, content, name, zipped):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if zipped else content)
    sound(lambda: read_table(path, Columns("y")))


@FUZZ
@given(text=st.text(st.sampled_from("ab,;\t\"'\n\r y0123456789.-:date\x00é"), max_size=120))
def test_any_text_under_a_header(tmp_path, text):
    path = tmp_path / "text.csv"
    path.write_text("date,y\n" + text, encoding="utf-8", newline="")
    sound(lambda: read_table(path, Columns("y"), freq="D"))
    path.write_text(text, encoding="utf-8", newline="")
    sound(lambda: read_table(path, Columns("y"), freq="D"))


CELLS = (
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-9, 9),
    st.floats(),
    st.floats(-1e3, 1e3),
    st.text(max_size=4),
    st.booleans(),
    st.datetimes(),
    st.dates(),
    st.decimals(allow_nan=True),
    st.binary(max_size=3),
    st.lists(st.integers(0, 3), max_size=2),
)


@FUZZ
@given(data=st.data(), count=st.integers(0, 5), zone=st.sampled_from([None, "UTC", "Europe/Berlin"]), options=OPTIONS)
def test_parquet(tmp_path, data, count, zone, options):
    """Columns of every type, each column of one kind so that parquet can hold it, or a right time axis."""
    index = pd.date_range("2013-10-26 20:00", periods=count, freq="h", tz=zone)
    kinds = [data.draw(st.sampled_from(CELLS)) for _ in range(3)]
    columns = [data.draw(st.lists(kind | st.none(), min_size=count, max_size=count)) for kind in kinds]
    table = pd.DataFrame(dict(zip(("stamp", "y", "x"), (pd.Series(c, dtype=object) for c in columns), strict=True)))
    table["timestamp"] = index
    path = tmp_path / "fuzz.parquet"
    try:
        table.to_parquet(path)
    except Exception:  # pyarrow cannot write some mixtures; that is not what is tested
        assume(False)
    sound(lambda: read_table(path, Columns("y", "timestamp", known_future="x"), **options))
    sound(lambda: read_table(path, Columns("x", "stamp"), **options))


@FUZZ
@given(rows=st.lists(st.tuples(STAMPS, NUMBERS, NUMBERS, NUMBERS), max_size=8), options=OPTIONS)
def test_wide_csv(tmp_path, rows, options):
    path = tmp_path / "wide.csv"
    path.write_text("\n".join(["date,A,B,wind", *(",".join(row) for row in rows)]), encoding="utf-8")
    sound(lambda: read_wide(path, Columns(["A", "B"], known_future="wind"), **options))
