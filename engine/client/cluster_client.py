"""`ClusterClient`: what futures, coordination, executors and collections need of a client.

The port between the code below `howdah.engine.api` and `howdah.engine.api.Client`, which implements it. Its parts hold
their own state and are safe to use from any thread; what belongs to howdah's loop thread is marked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from howdah.errors import HowdahError

if TYPE_CHECKING:
    from howdah.engine.client.connection import SchedulerConnection
    from howdah.engine.client.future import Future
    from howdah.engine.client.future_registry import FutureRegistry
    from howdah.engine.client.waiting import Waiter
    from howdah.engine.comm.connection.event_loop import LoopThread


class ClusterClient(Protocol):
    """A connection to a cluster, as the parts above and around it use it."""

    name: str
    registry: FutureRegistry
    """The results of which this client has futures."""

    @property
    def when_lost(self) -> set[Callable[[HowdahError], object]]:
        """Called with the error on the loop's thread when the cluster is lost for good, or the client closed."""

    @property
    def connection(self) -> SchedulerConnection:
        """The session with the scheduler. Its `error` is the reason of its loss."""

    @property
    def waiter(self) -> Waiter:
        """Waits for results, on a thread or on a user's event loop."""

    @property
    def loop_thread(self) -> LoopThread:
        """howdah's own event loop."""

    @property
    def asynchronous(self) -> bool:
        """Whether a call made here and now returns an awaitable."""

    def submit(self, fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Run a call on the cluster; its `Future`."""

    def map(self, fn: Callable[..., Any], *iterables: Any, **options: Any) -> list[Future]:
        """Run a call per element; one future each."""

    def gathered(self, futures: Sequence[Future]) -> list[Any]:
        """Return the values of futures, in order. Blocks this thread, also in an asynchronous client."""

    def cancel(self, futures: Any, force: bool = False) -> Any:
        """Cancel futures."""

    def retry(self, futures: Any) -> Any:
        """Run failed futures again."""

    def call_back(self, fn: Callable[..., object], *args: Any) -> None:
        """Call `fn` on the thread for users' callbacks. Raises RuntimeError when that has ended with the client."""

    def close(self) -> Any:
        """Disconnect."""
