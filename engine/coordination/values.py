"""`Queue` and `Variable`: values and futures that clients and tasks hand to each other."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from howdah.engine.coordination.rpc import Primitive, Timeout, seconds, wait_for_reply
from howdah.errors import bad_value


class _ValuePrimitive(Primitive):
    def _get_call(self, make: Callable[[list[Any]], Any], **about: Any) -> Any:
        """A call whose answer brings values: taken on the loop, opened where the caller is."""
        work = self._request("get", self._receive_values, **about)
        if getattr(self.client, "asynchronous", False):
            return self._awaitable(_convert(work, lambda parts: make([self._load(part) for part in parts])))
        return make([self._load(part) for part in wait_for_reply(self.client, work)])


async def _convert(work: Coroutine[Any, Any, Any], make: Callable[[Any], Any]) -> Any:
    return make(await work)


class Queue(_ValuePrimitive):
    """A queue that all clients and tasks of a cluster share, first in, first out.

    Parameters
    ----------
    name : what others find it by. None: its own, which its pickle carries; it then ends with its client.
    client : to speak through; default: the current one, in a task the worker's.
    maxsize : how many may be in it before `put` waits; 0: any number. The first who uses a queue says it.

    Futures in what is put (at any depth) stay alive while they are in the queue, and come out as futures of whoever
    gets them; large data should go through it as futures. A named queue stays until it is closed. What a client was
    given and had no time to take before it died goes back to the head of the queue.

    Examples
    --------
    >>> from howdah.engine.api import Client
    >>> with Client(n_workers=1) as client:
    ...     queue = Queue("numbers")
    ...     queue.put(client.submit(pow, 2, 5))
    ...     queue.get().result()
    32
    """

    kind = "queue"

    def __init__(self, name: str | None = None, client: Any = None, maxsize: int = 0) -> None:
        if maxsize < 0:
            raise bad_value("maxsize", maxsize, "give a number of items, or 0 for no limit")
        super().__init__(name, client)
        self.maxsize = maxsize

    def _parameters(self) -> dict[str, Any]:
        return {"maxsize": self.maxsize}

    def put(self, value: Any, timeout: Timeout = None) -> Any:
        """Put `value` at the end; waits while the queue is full. Raises DeadlineExceeded after `timeout` seconds."""
        return self._call("put", **self._encode_value(value), timeout=seconds(timeout), limit=self.maxsize)

    def get(self, timeout: Timeout = None, batch: bool | int = False) -> Any:
        """The value at the head; waits while the queue is empty. Raises DeadlineExceeded after `timeout` seconds.

        Parameters
        ----------
        batch : True gives a list of all that is there now, a number waits for so many and gives their list.
        """
        if batch is False:
            return self._get_call(lambda values: values[0], timeout=seconds(timeout), limit=self.maxsize)
        if batch is not True and batch < 1:
            raise bad_value("batch", batch, "give True, or a number from 1 on")
        count = 0 if batch is True else int(batch)
        return self._get_call(lambda values: values, timeout=seconds(timeout), limit=self.maxsize, batch=count)

    def qsize(self) -> Any:
        """How many are in it."""
        return self._call("size", limit=self.maxsize)

    def close(self) -> Any:
        """Drop it and what is in it; whoever waits for it gets a HowdahError. Closing twice is fine."""
        return self._call("close")


class Variable(_ValuePrimitive):
    """One value that all clients and tasks of a cluster share.

    Parameters
    ----------
    name, client : as for `Queue`.

    A named variable keeps its value until it is deleted, also when the client that set it has gone. Futures in it
    stay alive.

    Examples
    --------
    >>> from howdah.engine.api import Client
    >>> with Client(n_workers=1):
    ...     Variable("x").set({"limit": 5})
    ...     Variable("x").get()
    {'limit': 5}
    """

    kind = "variable"

    def set(self, value: Any, timeout: Timeout = None) -> Any:
        """Give it a value, in place of the one it has. `timeout` is there for dask's sake: it never has to wait."""
        seconds(timeout)
        return self._call("set", **self._encode_value(value))

    def get(self, timeout: Timeout = None) -> Any:
        """Its value; waits while it has none. Raises DeadlineExceeded after `timeout` seconds."""
        return self._get_call(lambda values: values[0], timeout=seconds(timeout))

    def delete(self) -> Any:
        """Drop it; whoever waits for its value gets a HowdahError. Deleting twice is fine."""
        return self._call("delete")
