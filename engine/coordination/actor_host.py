"""An actor's object on its worker: one object, and one thread that runs its calls one after the other.

The object is made by a task, whose result is a `HostedActor`. It stays in the worker's store while the task's future
is referenced, and is pickled as an `Actor` that points here. Calls arrive over connections of their own (purpose
"actor") and do not pass the scheduler. For the worker, which serves these connections.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from howdah.engine.comm.connection.channel import Channel, ChannelClosed
from howdah.engine.comm.connection.connect import send_greeting
from howdah.engine.comm.security.certificates import Role
from howdah.engine.coordination.actor_messages import ActorAnswer, ActorCall
from howdah.engine.coordination.actors import Actor, actor_at
from howdah.engine.coordination.worker_context import WorkerContext, current_client, current_worker
from howdah.engine.protocol.frames import Buffer
from howdah.engine.protocol.messages import CoordinationCall, Hello, Welcome
from howdah.engine.serialization.exceptions import task_error
from howdah.engine.serialization.serialize import dumps_out_of_band, loads
from howdah.errors import HowdahError, Unpicklable, WorkerLost

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ActorCall)


class _QueuedCall(NamedTuple):
    call: ActorCall
    frames: Sequence[Buffer]
    answer: Callable[[list[Buffer]], None]


class HostedActor:
    """The object and its thread. The thread ends when nothing refers to the host any more."""

    def __init__(self, kind: type, token: str, instance: Any) -> None:
        self.kind, self.token = kind, token
        self._queue: queue.SimpleQueue[_QueuedCall | None] = queue.SimpleQueue()
        threading.Thread(
            target=_serve, args=(instance, self._queue, _place()), name=f"howdah-actor-{kind.__name__}", daemon=True
        ).start()
        weakref.finalize(self, self._queue.put, None)

    def put(self, call: _QueuedCall) -> None:
        """Queue a call for the thread."""
        self._queue.put(call)

    def as_actor(self) -> Actor:
        """Return an `Actor` that calls this object."""
        here = _context()
        return actor_at(self.kind, self.token, here.name, here.address)

    def __reduce__(self) -> Any:
        here = _context()
        return actor_at, (self.kind, self.token, here.name, here.address)


_hosted: weakref.WeakValueDictionary[str, HostedActor] = weakref.WeakValueDictionary()


def host_actor(kind: type, token: str, /, *args: Any, **kwargs: Any) -> HostedActor:
    """Make an actor's object: the function of the task that does it.

    Raises
    ------
    WorkerLost : it was made before, and its state was lost with its worker. It is never made again silently.
    """
    here = _context()
    client = current_client()
    claim = CoordinationCall(0, "actor", token, "claim")
    outcome, why = client.loop_thread.call(client.connection.request(claim, None))
    if outcome != "ok":
        raise WorkerLost(f"the actor {kind.__name__} {why}; it is not made again on {here.name}")
    host = _hosted[token] = HostedActor(kind, token, kind(*args, **kwargs))
    return host


def _context() -> WorkerContext:
    here = current_worker()
    if here is None:
        raise HowdahError("actors live on workers, and this process is none")
    return here


def _place() -> tuple[str, str, str]:
    here = _context()
    return here.name, here.host, here.container


def _serve(instance: Any, calls: queue.SimpleQueue[_QueuedCall | None], place: tuple[str, str, str]) -> None:
    """Run the calls of one actor until None comes. On the actor's thread."""
    with asyncio.Runner() as runner:  # makes its loop when the first async method is called
        while (call := calls.get()) is not None:
            call.answer(_run(instance, call, runner, place))
            del call


def _run(instance: Any, queued: _QueuedCall, runner: asyncio.Runner, place: tuple[str, str, str]) -> list[Buffer]:
    """Run one call; the frames of its answer."""
    call = queued.call
    try:
        value = getattr(instance, call.name)
        if call.verb == "call":
            args, kwargs = loads(queued.frames[0], queued.frames[1:])
            value = value(*args, **kwargs)
            if inspect.isawaitable(value):
                value = runner.run(_awaited(value))
        data, buffers = dumps_out_of_band(value)
    except Unpicklable as error:
        return [_encoder.encode(ActorAnswer(call.number, task_error(error, *place, kind="unpicklable")))]
    except BaseException as error:  # noqa: BLE001  # user code, SystemExit included; reported, not swallowed
        return [_encoder.encode(ActorAnswer(call.number, task_error(error, *place)))]
    return [_encoder.encode(ActorAnswer(call.number)), data, *buffers]


async def _awaited(value: Any) -> Any:
    return await value


async def serve_actors(channel: Channel, role: Role, hello: Hello) -> None:
    """Take calls from one connection until it ends."""
    await send_greeting(channel, Welcome(""))
    loop = asyncio.get_running_loop()

    def write(frames: list[Buffer]) -> None:
        if not channel.closed:
            try:
                channel.write(frames)
            except ChannelClosed:
                return  # the caller is gone

    def answer(frames: list[Buffer]) -> None:
        loop.call_soon_threadsafe(write, frames)

    while True:
        head, *frames = await channel.read()
        call = _decoder.decode(head)
        host = _hosted.get(call.token)
        if host is None:
            write([_encoder.encode(ActorAnswer(call.number, gone=True))])
        else:
            host.put(_QueuedCall(call, frames, answer))
        del host
