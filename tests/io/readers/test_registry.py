"""Readers are found by name among the entry points; a name that is not there is answered with those that are."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from howdah.errors import InputError
from howdah.io import ParquetTable, find_reader, open_table, plan_parquet
from howdah.io.readers import registry


def declare(monkeypatch: pytest.MonkeyPatch, **readers: str) -> None:
    entries = [EntryPoint(name, value, registry.ENTRY_POINTS) for name, value in readers.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries if group == "howdah.readers" else [])


def test_parquet_is_declared_like_any_other() -> None:
    assert find_reader("parquet") is plan_parquet


def test_a_table_is_opened_by_the_name_of_its_format(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "t.parquet")
    table = open_table(str(tmp_path), "parquet")
    assert isinstance(table, ParquetTable)
    assert table.rows == 2


def test_an_unknown_format_is_answered_with_near_names() -> None:
    with pytest.raises(InputError, match=r"format='parket'.*did you mean 'parquet'\?.*howdah\.readers"):
        find_reader("parket")


def test_a_reader_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, broken="no_such_module:reader", empty="howdah.errors:no_such_reader")
    for name, value in {"broken": "no_such_module:reader", "empty": "howdah.errors:no_such_reader"}.items():
        with pytest.raises(InputError, match=f"format='{name}': the reader '{value}' cannot be loaded"):
            find_reader(name)


def test_what_is_no_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, text="builtins:str")
    with pytest.raises(InputError, match=r"gave str, not a howdah\.io\.TableSource"):
        open_table("x", "text")
