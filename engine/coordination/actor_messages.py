"""Messages between an `Actor` and the worker where its object lives, over connections of their own."""

from __future__ import annotations

import msgspec

from howdah.engine.protocol.events import TaskError


class ActorCall(msgspec.Struct, frozen=True, array_like=True):
    """Followed by the frames of (args, kwargs). verb: "call" (a method), "get" (an attribute)."""

    number: int
    token: str
    verb: str
    name: str


class ActorAnswer(msgspec.Struct, frozen=True, array_like=True):
    """Followed by the frames of the value, when there is no error. `gone`: there is no such actor here."""

    number: int
    error: TaskError | None = None
    gone: bool = False
