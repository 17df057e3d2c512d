"""Calls of primitives: how timeouts are written, and waits that end."""

from __future__ import annotations

import concurrent.futures
import threading
from datetime import timedelta

import pytest

from howdah.engine.coordination.rpc import Timeout, seconds, wait_releasing_slot
from howdah.errors import InputError


@pytest.mark.parametrize(
    ("given", "found"),
    [(None, None), (2, 2.0), ("500 ms", 0.5), ("1.5", 1.5), (" 2 min ", 120.0), ("1h", 3600.0), (timedelta(0, 9), 9.0)],
)  # fmt: skip
def test_timeouts_as_they_may_be_written(given: Timeout, found: float | None) -> None:
    assert seconds(given) == found


@pytest.mark.parametrize("given", ["soon", "5 fortnights", ""])
def test_what_is_no_timeout_is_refused(given: str) -> None:
    with pytest.raises(InputError, match="timeout"):
        seconds(given)


def test_a_wait_ends_with_its_future_or_its_timeout() -> None:
    future: concurrent.futures.Future[int] = concurrent.futures.Future()
    assert not wait_releasing_slot(future, 0.01)
    threading.Timer(0.02, future.set_result, (1,)).start()
    assert wait_releasing_slot(future, 10)
    assert wait_releasing_slot(future)
