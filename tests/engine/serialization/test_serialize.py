"""Objects to bytes and back."""

import datetime
import itertools
import threading

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from howdah.engine.serialization.serialize import dumps, dumps_each, dumps_out_of_band, loads
from howdah.errors import Unpicklable


def there_and_back(value: object) -> object:
    inside = loads(dumps(value))
    data, buffers = dumps_out_of_band(value)
    apart = loads(data, buffers)
    assert type(inside) is type(apart) is type(value)
    return apart


def travelled(value: object) -> int:
    data, buffers = dumps_out_of_band(value)
    return len(data) + sum(buffer.nbytes for buffer in buffers)


def wide_table(rows: int) -> pa.Table:
    columns = {f"c{i}": np.random.default_rng(i).random(rows) for i in range(23)}
    return pa.table(columns | {"text": pa.array([f"row number {i}" for i in range(rows)])})


def test_a_slice_of_a_table_costs_its_own_size() -> None:
    part = wide_table(100_000).slice(500, 1000)
    assert travelled(part) < 1.02 * part.nbytes + 5000
    assert there_and_back(part).equals(part)
    batch = part.to_batches()[0]
    assert travelled(batch) < 1.02 * part.nbytes + 5000
    assert there_and_back(batch).equals(batch)
    column = part["text"]
    assert travelled(column) < 1.1 * column.nbytes + 1000
    assert there_and_back(column).equals(column)
    array = column.chunk(0)
    assert there_and_back(array).equals(array)
    assert travelled(array) < 1.1 * array.nbytes + 1000


def test_a_slice_of_a_thousand_rows_costs_one_percent_more_than_its_bytes() -> None:
    for table in (wide_table(100_000), pa.concat_tables([wide_table(50_000), wide_table(50_000)])):
        part = table.slice(70_000, 1000)
        assert travelled(part) <= 1.01 * part.nbytes
        assert there_and_back(part).equals(part)
        batch = part.to_batches()[0]
        assert travelled(batch) <= 1.01 * part.nbytes
        assert there_and_back(batch).equals(batch)
    across = pa.concat_tables([wide_table(1000), wide_table(1000)]).slice(900, 200)
    assert there_and_back(across).equals(across)
    assert there_and_back(across.slice(0, 0)).equals(across.slice(0, 0))


def test_dictionaries_metadata_and_empty_tables_survive() -> None:
    words = pa.array(["a", "b", "a"]).dictionary_encode()
    table = pa.table({"w": words, "n": [[1], [], None]}).replace_schema_metadata({"made": "here"})
    for value in (table, table.slice(1, 1), table.drop_columns(["w"]), pa.table({}), words, table["n"]):
        assert there_and_back(value).equals(value)
    assert there_and_back(table).schema.metadata == {b"made": b"here"}


def test_a_slice_of_a_polars_frame_costs_its_own_size() -> None:
    part = pl.from_arrow(wide_table(100_000)).slice(500, 1000)
    assert travelled(part) < 260_000
    assert there_and_back(part).equals(part)
    series = part["text"]
    assert travelled(series) < 40_000
    assert there_and_back(series).equals(series)


def test_a_slice_of_a_pandas_frame_costs_its_own_size() -> None:
    part = wide_table(100_000).to_pandas().iloc[500:1500]
    assert travelled(part) < 260_000
    pd.testing.assert_frame_equal(there_and_back(part), part)


@pytest.mark.parametrize(
    "series",
    [
        pl.Series("i", [1, None, 3]),
        pl.Series("s", ["x", None, ""]),
        pl.Series("d", [datetime.date(2020, 1, 1), None]),
        pl.Series("t", [datetime.datetime(2020, 1, 1, 1)]).dt.replace_time_zone("Europe/Berlin"),
        pl.Series("c", ["a", "b", "a"], dtype=pl.Categorical),
        pl.Series("e", ["a", "b", "a"], dtype=pl.Enum(["b", "a"])),
        pl.Series("l", [[1], [], None]),
        pl.Series("st", [{"q": 1}, {"q": None}]),
        pl.Series("n", [None, None]),
        pl.Series("w", [2**100], dtype=pl.Int128),
        pl.Series("empty", [], dtype=pl.Float32),
    ],
    ids=lambda series: series.name,
)
def test_every_polars_type_survives(series: pl.Series) -> None:
    back = there_and_back(series)
    assert back.equals(series)
    assert (back.dtype, back.name) == (series.dtype, series.name)
    frame = pl.DataFrame([series])
    assert there_and_back(frame).schema == frame.schema


def test_arrays_travel_out_of_band_and_come_back_writable() -> None:
    array = np.arange(100_000.0)
    data, buffers = dumps_out_of_band({"a": array, "b": array[::2]})
    assert len(buffers) == 1
    assert buffers[0].nbytes == array.nbytes
    back = loads(data, [memoryview(bytearray(buffers[0]))])
    back["a"][0] = 5
    np.testing.assert_array_equal(back["b"], array[::2])


def test_every_item_can_be_cut_out_alone() -> None:
    items = [(i, "x" * i, [i]) for i in range(100)]
    blob, offsets = dumps_each(items)
    assert len(offsets) == 101
    assert [loads(blob[a:b]) for a, b in itertools.pairwise(offsets)] == items


def test_closures_travel_by_value() -> None:
    step = 3
    blob, offsets = dumps_each([(lambda x: x + step,), (len,)])
    assert loads(blob[: offsets[1]])[0](4) == 7
    assert loads(blob[offsets[1] :])[0] is len


def test_what_cannot_travel_is_named() -> None:
    lock = threading.Lock()
    with pytest.raises(Unpicklable, match=r"\['rows'\]\[1\] \(a lock\)"):
        dumps({"rows": [1, lock]})
    with pytest.raises(Unpicklable, match="closure variable lock"):
        dumps(lambda: lock)
