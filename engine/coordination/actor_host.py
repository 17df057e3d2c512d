"""An actor where it lives: one object on one worker, one thread that does its calls, one after the other.

The object is made by a task, whose result is a `HostedActor`: it stays in the worker's store while anybody holds
the task's future, and what others fetch of it is an `Actor` that points here. Calls come over connections of their
own (purpose "actor"), past the scheduler.
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
from howdah.engine.coordination.worker_context import WorkerContext, current_client, current_worker
from howdah.engine.protocol.events import TaskError
from howdah.engine.protocol.frames import Buffer
from howdah.engine.protocol.messages import Hello, Welcome
from howdah.engine.serialization.exceptions import task_error
from howdah.engine.serialization.serialize import dumps_out_of_band, loads
from howdah.errors import HowdahError, Unpicklable, WorkerLost


class ActorCall(msgspec.Struct, frozen=True, array_like=True):
    """Followed by the frames of (args, kwargs). verb: "call", "get" (an attribute)."""

    number: int
    token: str
    verb: str
    name: str


class ActorAnswer(msgspec.Struct, frozen=True, array_like=True):
    """Followed by the frames of the value, when there is no error. `gone`: there is no such actor here."""

    number: int
    error: TaskError | None = None
    gone: bool = False


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ActorCall)


class _QueuedCall(NamedTuple):
    call: ActorCall
    frames: Sequence[Buffer]
    answer: Callable[[list[Buffer]], None]


class HostedActor:
    """The object and its thread, which ends when nothing refers to the resident any more."""

    def __init__(self, kind: type, token: str, made: Any) -> None:
        self.kind, self.token = kind, token
        self._queue: queue.SimpleQueue[_QueuedCall | None] = queue.SimpleQueue()
        threading.Thread(
            target=_serve, args=(made, self._queue, _where()), name=f"howdah-actor-{kind.__name__}", daemon=True
        ).start()
        weakref.finalize(self, self._queue.put, None)

    def put(self, work: _QueuedCall) -> None:
        self._queue.put(work)

    def __reduce__(self) -> Any:
        """Elsewhere it is an `Actor`."""
        from howdah.engine.coordination.actors import actor_at

        here = _context()
        return actor_at, (self.kind, self.token, here.name, here.address)


_hosted: weakref.WeakValueDictionary[str, HostedActor] = weakref.WeakValueDictionary()


def host_actor(kind: type, token: str, /, *args: Any, **kwargs: Any) -> HostedActor:
    """The task that makes an actor. It runs once: a state that was lost with its worker is not made anew in silence."""
    here = _context()
    client = current_client()
    outcome, why = client.loop_thread.call(client.connection.request(_claim(token), None))
    if outcome != "ok":
        raise WorkerLost(f"the actor {kind.__name__} {why}; it is not made again on {here.name}")
    resident = _hosted[token] = HostedActor(kind, token, kind(*args, **kwargs))
    return resident


def _claim(token: str) -> Any:
    from howdah.engine.protocol.messages import CoordinationCall

    return CoordinationCall(0, "actor", token, "claim")


def _context() -> WorkerContext:
    here = current_worker()
    if here is None:
        raise HowdahError("actors live on workers, and this process is none")
    return here


def _where() -> tuple[str, str, str]:
    here = _context()
    return here.name, here.host, here.container


def _serve(made: Any, works: queue.SimpleQueue[_QueuedCall | None], where: tuple[str, str, str]) -> None:
    """The actor's thread."""
    with asyncio.Runner() as runner:  # makes its loop when the first async method is called
        while (work := works.get()) is not None:
            work.answer(_answer_to(made, work, runner, where))
            del work


def _answer_to(made: Any, work: _QueuedCall, runner: asyncio.Runner, where: tuple[str, str, str]) -> list[Buffer]:
    call = work.call
    try:
        value = getattr(made, call.name)
        if call.verb == "call":
            args, kwargs = loads(work.frames[0], work.frames[1:])
            value = value(*args, **kwargs)
            if inspect.isawaitable(value):
                value = runner.run(_awaited(value))
        data, buffers = dumps_out_of_band(value)
    except Unpicklable as error:
        return [_encoder.encode(ActorAnswer(call.number, task_error(error, *where, kind="unpicklable")))]
    except BaseException as error:  # noqa: BLE001  # user code, SystemExit included; reported, not swallowed
        return [_encoder.encode(ActorAnswer(call.number, task_error(error, *where)))]
    return [_encoder.encode(ActorAnswer(call.number)), data, *buffers]


async def _awaited(value: Any) -> Any:
    return await value


async def serve_actors(channel: Channel, role: Role, hello: Hello) -> None:
    """Take calls from one connection until it ends."""
    await send_greeting(channel, Welcome(""))
    loop = asyncio.get_running_loop()

    def said(frames: list[Buffer]) -> None:
        if not channel.closed:
            try:
                channel.write(frames)
            except ChannelClosed:
                return  # nobody waits for the answer any more

    def answer(frames: list[Buffer]) -> None:
        loop.call_soon_threadsafe(said, frames)

    while True:
        head, *frames = await channel.read()
        call = _decoder.decode(head)
        resident = _hosted.get(call.token)
        if resident is None:
            said([_encoder.encode(ActorAnswer(call.number, gone=True))])
        else:
            resident.put(_QueuedCall(call, frames, answer))
        del resident
