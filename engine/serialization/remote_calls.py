"""Calls of functions on a worker that are no tasks (`Client.run`): opened, run and answered on a thread of their own.

One frame comes, a pickle of (function, args, kwargs); one or two go back: a byte that says which, and the result or
the `TaskError` of what it raised.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import msgspec

from howdah.engine.comm.connection.framing import Buffer, Channel
from howdah.engine.protocol.events import TaskError
from howdah.engine.serialization.exceptions import task_error
from howdah.engine.serialization.serialize import dumps, loads

RETURNED, RAISED = b"r", b"e"


async def serve_calls(channel: Channel, worker: Any) -> None:
    """Answer calls on `channel` until it ends. `worker` is what a function gets that takes `dask_worker`."""
    while True:
        frames = await channel.read()
        answer = await asyncio.to_thread(_called, frames[0], worker)
        await channel.write_and_drain(answer)


def _called(frame: Buffer, worker: Any) -> list[Buffer]:
    info = worker.info
    try:
        fn, args, kwargs = loads(frame)
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


def decode_reply(frames: Any) -> Any:
    """The result; raises what the function raised. For the client."""
    from howdah.engine.serialization.exceptions import rebuild_exception

    if bytes(frames[0]) == RETURNED:
        return loads(frames[1])
    error = msgspec.msgpack.decode(frames[1], type=TaskError)
    raise rebuild_exception(error, f"howdah: raised on worker {error.worker} (host {error.host})")
