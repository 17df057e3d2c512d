"""`Queue` and `Variable`: values and futures that clients and tasks pass to each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from howdah.engine.coordination.rpc import Primitive, Timeout, seconds
from howdah.errors import bad_value


class _ValuePrimitive(Primitive):
    def _get_call(self, make: Callable[[list[Any]], Any], **about: Any) -> Any:
        """Send a request whose reply brings values: received on the loop, unpickled where the caller is."""
        return self._wait_or_await(
            self._request("get", self._receive_values, **about),
            lambda parts: make([self._load(part) for part in parts]),
        )


class Queue(_ValuePrimitive):
    """A queue that all clients and tasks of a cluster share, first in, first out.

    Futures in what is put (at any depth) stay alive while they are in the queue, and arrive as futures of the client
    that gets them; large data should go through it as futures. A named queue stays until it is closed. What was sent to
    a client that died before it could take it returns to the head of the queue. In an asynchronous client every method
    returns an awaitable.

    Parameters
    ----------
    name : by which others find it. None: its own, which its pickle carries; it then ends with its client.
    client : by which it calls; default: the current one, in a task the worker's.
    maxsize : number of items from which on `put` waits; 0 is no limit. The first use of a queue sets it.

    Raises
    ------
    InputError : `maxsize` is negative, or `name` is not a text.

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
        """Put `value` at the end; waits while the queue is full.

        Parameters
        ----------
        value : anything that can be pickled, with futures of this client inside.
        timeout : seconds, or a text as "500 ms"; None is no limit.

        Returns
        -------
        None
            In an asynchronous client an awaitable.

        Raises
        ------
        DeadlineExceeded : the queue was full for `timeout` seconds.
        HowdahError : the queue was closed.
        """
        return self._call("put", **self._encode_value(value), timeout=seconds(timeout), limit=self.maxsize)

    def get(self, timeout: Timeout = None, batch: bool | int = False) -> Any:
        """Take the value at the head; waits while the queue is empty.

        Parameters
        ----------
        timeout : seconds, or a text as "500 ms"; None is no limit.
        batch : True takes all that is there now; a number waits for so many.

        Returns
        -------
        Any
            The value; with `batch` a list of values.

        Raises
        ------
        DeadlineExceeded : the queue was empty for `timeout` seconds.
        HowdahError : the queue was closed.
        """
        if batch is False:
            return self._get_call(lambda values: values[0], timeout=seconds(timeout), limit=self.maxsize)
        if batch is not True and batch < 1:
            raise bad_value("batch", batch, "give True, or a number from 1 on")
        count = 0 if batch is True else int(batch)
        return self._get_call(lambda values: values, timeout=seconds(timeout), limit=self.maxsize, batch=count)

    def qsize(self) -> Any:
        """Return the number of items in it.

        Returns
        -------
        int
        """
        return self._call("size", limit=self.maxsize)

    def close(self) -> Any:
        """Drop it and what is in it; calls that wait for it raise HowdahError. Closing twice is fine.

        Returns
        -------
        None
            In an asynchronous client an awaitable.
        """
        return self._call("close")


class Variable(_ValuePrimitive):
    """One value that all clients and tasks of a cluster share.

    A named variable keeps its value until it is deleted, also when the client that set it is closed. Futures in it stay
    alive. In an asynchronous client every method returns an awaitable.

    Parameters
    ----------
    name, client : as for `Queue`.

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
        """Set its value in place of the present one.

        Parameters
        ----------
        value : anything that can be pickled, with futures of this client inside.
        timeout : accepted for dask compatibility; ignored. It never waits.

        Returns
        -------
        None
            In an asynchronous client an awaitable.
        """
        seconds(timeout)
        return self._call("set", **self._encode_value(value))

    def get(self, timeout: Timeout = None) -> Any:
        """Return its value; waits while it has none.

        Parameters
        ----------
        timeout : seconds, or a text as "500 ms"; None is no limit.

        Returns
        -------
        Any

        Raises
        ------
        DeadlineExceeded : it had no value for `timeout` seconds.
        HowdahError : it was deleted.
        """
        return self._get_call(lambda values: values[0], timeout=seconds(timeout))

    def delete(self) -> Any:
        """Drop it; calls that wait for its value raise HowdahError. Deleting twice is fine.

        Returns
        -------
        None
            In an asynchronous client an awaitable.
        """
        return self._call("delete")
