"""Calls of functions on a worker that are not tasks (`Client.run`).

A request is one frame, a pickle of (function, args, kwargs). A reply is two frames: RETURNED and the pickled result,
or RAISED and the `TaskError` of what the function raised. The worker calls `execute_call`, the client `decode_reply`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from typing import Any

import msgspec

from howdah.engine.protocol.events import TaskError
from howdah.engine.protocol.frames import Buffer
from howdah.engine.serialization.exceptions import rebuild_exception, task_error
from howdah.engine.serialization.serialize import dumps, loads

RETURNED, RAISED = b"r", b"e"


def execute_call(request: Buffer, worker: Any) -> list[Buffer]:
    """Call the function of `request` on this thread and return the reply.

    A function that takes `dask_worker` gets `worker`. A coroutine runs to its end on an event loop of its own.
    """
    info = worker.info
    try:
        fn, args, kwargs = loads(request)
        if "dask_worker" not in kwargs and "dask_worker" in _parameters(fn):
            kwargs = {**kwargs, "dask_worker": worker}
        value = fn(*args, **kwargs)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
        return [RETURNED, dumps(value)]
    except BaseException as error:  # noqa: BLE001  # user code, SystemExit included; it is raised where run was called
        return [RAISED, msgspec.msgpack.encode(task_error(error, info.name, info.host, info.container))]


def _parameters(fn: Any) -> Any:
    try:
        return inspect.signature(fn).parameters
    except (TypeError, ValueError):  # a built-in one without a signature
        return ()


def decode_reply(frames: Sequence[Buffer]) -> Any:
    """Return the result of a call; raises what the function raised."""
    if bytes(frames[0]) == RETURNED:
        return loads(frames[1])
    error = msgspec.msgpack.decode(frames[1], type=TaskError)
    raise rebuild_exception(error, f"howdah: raised on worker {error.worker} (host {error.host})")
