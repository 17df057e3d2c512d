"""Sizes and durations: what is written is read back, and what is ambiguous is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.errors import InputError
from howdah.yarn_app.specification.units import (
    MIB,
    format_bytes,
    format_elapsed,
    format_memory,
    parse_count,
    parse_memory,
    parse_seconds,
    with_overhead,
    without_overhead,
)


@given(st.integers(1, 1 << 24))
def test_memory_is_read_back_as_it_was_written(mebibytes: int) -> None:
    assert parse_memory("x", format_memory(mebibytes * MIB)) == mebibytes * MIB


@given(st.integers(1, 1 << 50))
def test_memory_is_rounded_up_to_whole_mebibytes(size: int) -> None:
    written = parse_memory("x", format_memory(size))
    assert 0 <= written - size < MIB


@pytest.mark.parametrize(
    ("text", "size"), [("1g", 1 << 30), ("1 GiB", 1 << 30), ("1GB", 954 * MIB), ("1k", MIB), (" 1.5m ", 2 * MIB)]
)
def test_units_of_spark_and_of_the_standard(text: str, size: int) -> None:
    assert parse_memory("x", text) == size


@pytest.mark.parametrize("value", [2, "2", "GiB", "-1GiB", "1XiB", "0MiB", None, True, 1.5, "1e3MiB"])
def test_what_is_no_size_is_refused_with_path_and_value(value: object) -> None:
    with pytest.raises(InputError, match=r"^there: got .*MiB'"):
        parse_memory("there", value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(3, 3.0), (0.5, 0.5), ("250ms", 0.25), ("2", 2.0), ("1m", 60.0), ("1.5 h", 5400.0), ("1d", 86400)],
)
def test_durations(value: object, seconds: float) -> None:
    assert parse_seconds("x", value) == seconds


@pytest.mark.parametrize("value", [0, -1, True, "soon", "", "0s", float("nan"), float("inf"), None])
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"^lease: got .*seconds"):
        parse_seconds("lease", value)


@pytest.mark.parametrize("value", [True, 1.0, "1", -1, None])
def test_what_is_no_count_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"n: got .*0 or more"):
        parse_count("n", value, 0)


@given(st.integers(MIB, 1 << 45))
def test_the_largest_worker_of_a_container_fits_it(container: int) -> None:
    container = container // MIB * MIB
    worker = without_overhead(container)
    if worker > 0:
        assert with_overhead(worker) <= container
        assert with_overhead(worker + 2 * MIB) > container


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 20, "1.0 MiB"), (3 << 41, "6.0 TiB")]
)
def test_bytes_for_people(size: int, text: str) -> None:
    assert format_bytes(size) == text


@given(st.integers(0, 10**6))
def test_elapsed_time_adds_up(seconds: int) -> None:
    parts = [int(part) for part in format_elapsed(seconds).split(":")]
    assert sum(part * unit for part, unit in zip(reversed(parts), (1, 60, 3600))) == seconds
