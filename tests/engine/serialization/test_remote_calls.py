"""Functions that clients run on workers: what comes back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from howdah.engine.serialization.remote_calls import decode_reply, execute_call
from howdah.engine.serialization.serialize import dumps

WORKER = SimpleNamespace(info=SimpleNamespace(name="w1", host="node1", container="c1"))


def call(fn: Any, *args: Any, **kwargs: Any) -> Any:
    return decode_reply(execute_call(dumps((fn, args, kwargs)), WORKER))


async def double(x: int) -> int:
    return 2 * x


def test_a_result_a_coroutines_result_and_the_worker() -> None:
    assert call(abs, -3) == 3
    assert call(double, 4) == 8
    assert call(lambda dask_worker: dask_worker.info.name) == "w1"
    assert call(lambda dask_worker=None: dask_worker, dask_worker=5) == 5


def test_what_a_function_raises_is_raised_here_with_the_workers_name() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        call(lambda: 1 / 0)
    assert "raised on worker w1 (host node1)" in "".join(caught.value.__notes__)


def test_an_exit_does_not_end_the_worker() -> None:
    with pytest.raises(SystemExit):
        call(exit, 3)
