"""`Cluster`: what every deployer of howdah offers, and what a `Client` reads of the cluster that it is given.

`LocalCluster` and `YarnCluster` subclass it; a new deployer does the same. What a deployer cannot do raises
`NotSupported` with what to do in its place, which is what the defaults here do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from types import TracebackType
from typing import Any

from howdah.errors import NotSupported


class Cluster(ABC):
    """A scheduler with its workers, as the program that started or joined it sees them.

    Attributes
    ----------
    scheduler_address : where clients connect.
    scratch_root : URL of the folder for unfinished writes; None puts them beside their output.
    expected_workers : number of workers that were requested and may still be starting; 0 if no work should wait for
        them. Work with preferred hosts waits for them once, for at most 30 s.
    """

    scheduler_address: str
    scratch_root: str | None
    expected_workers: int

    @property
    def security(self) -> str | None:
        """The security directory with which clients connect; None on Unix sockets."""
        return None

    @property
    def dashboard_link(self) -> str:
        """URL of the cluster's status page; "" if there is none."""
        return ""

    def locate_scheduler(self) -> str | None:
        """Return the scheduler's address now, for a client whose connection is lost.

        Returns
        -------
        str or None
            "" while the scheduler is being restarted; None if it never moves: the client then tries the old address
            until its lease ends. May block, and is called on a thread of its own.

        Raises
        ------
        HowdahError : the cluster has ended; the client gives up.
        """
        return None

    def status(self) -> dict[str, Any]:
        """Return counts of workers and tasks.

        Returns
        -------
        dict
            The keys are the deployer's own.

        Raises
        ------
        NotSupported : the deployer has none.
        """
        raise NotSupported(f"status: {type(self).__name__} has none of its own; use Client.summary()")

    def workers(self) -> Collection[Any]:
        """Return the live workers.

        Returns
        -------
        collection
            One entry each.

        Raises
        ------
        NotSupported : the deployer does not list them.
        """
        raise NotSupported(f"workers: {type(self).__name__} does not list them; use Client.scheduler_info()")

    def logs(self) -> dict[str, dict[str, str]]:
        """Return the output of the cluster's processes.

        Returns
        -------
        dict
            Container (or worker) -> file name -> text.

        Raises
        ------
        NotSupported : the deployer keeps none.
        """
        raise NotSupported(f"logs: {type(self).__name__} keeps no log files; use Client.get_worker_logs()")

    def scale(self, n: int) -> None:
        """Request workers. Returns at once; `Client.wait_for_workers` waits for them.

        Parameters
        ----------
        n : number of workers.

        Raises
        ------
        NotSupported : the number is fixed.
        """
        raise NotSupported(f"scale: the workers of {type(self).__name__} were fixed when it was started")

    def adapt(self, minimum: int = 0, maximum: int | None = None) -> None:
        """Let the number of workers follow the work.

        Parameters
        ----------
        minimum, maximum : bounds of the number; None is no bound.

        Raises
        ------
        NotSupported : the deployer cannot.
        """
        raise NotSupported(f"adapt: {type(self).__name__} does not follow the load by itself; call scale(n)")

    @abstractmethod
    def close(self) -> None:
        """End the cluster if this object started it, else detach from it. Closing twice is fine."""

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
