"""`find_cluster`: which cluster a new `Client` connects to, and all that it needs of it.

In this order: the address or cluster that it is given; inside a task the cluster that runs it; the cluster that this
program was started in (``HOWDAH_SCHEDULER``); else a `LocalCluster` of its own.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, NamedTuple

from howdah.engine.client.connection import read_address_file
from howdah.engine.comm.security.certificates import Security
from howdah.engine.coordination.worker_context import current_worker
from howdah.engine.deploy.cluster import Cluster
from howdah.errors import InputError, bad_value, near

CLIENT_OPTIONS = (
    "address", "security", "name", "timeout", "lease", "set_as_default", "asynchronous", "n_workers",
    "threads_per_worker", "memory_limit", "resources",
)  # fmt: skip
"""What the error for an unknown option suggests."""


class ClusterAddress(NamedTuple):
    """Where a client connects, and what it needs to know of the cluster there."""

    address: str
    security: Security | str | os.PathLike[str] | None
    scratch_root: str | None = None
    expected_workers: int = 0
    locate: Callable[[], str | None] | None = None
    """Where the scheduler is after its loss; see `Cluster.locate_scheduler`."""
    cluster: Cluster | None = None
    owned: bool = False
    """Whether the client started the cluster, and ends it."""


def check_options(given: Any, local: Mapping[str, Any]) -> None:
    """Raise InputError for an address that is none, and for options that `LocalCluster` does not have."""
    if given is not None and not isinstance(given, str) and not hasattr(given, "scheduler_address"):
        raise bad_value("address", given, "give an address, a cluster, or nothing")
    if not local:
        return
    from howdah.engine.deploy.local import LocalCluster  # brings the scheduler and numpy: only where one is started

    unknown = [option for option in local if option not in signature(LocalCluster).parameters]
    if unknown:
        raise InputError(f"Client: unknown option {unknown[0]!r}; {near(unknown[0], CLIENT_OPTIONS)}")
    if given is not None:
        raise InputError(f"{sorted(local)}: only for a local cluster, and one was given")


def find_cluster(given: Any, security: Any, local: Mapping[str, Any]) -> ClusterAddress:
    """Return where to connect; starts a `LocalCluster` when there is nothing else."""
    if isinstance(given, str):
        return ClusterAddress(given, security)
    if given is None and not local:
        worker = current_worker()
        if worker is not None:
            return ClusterAddress(worker.scheduler, worker.security)
        if "HOWDAH_SCHEDULER" in os.environ:
            return _from_environment(security)
    cluster: Cluster
    if given is None:
        from howdah.engine.deploy.local import LocalCluster  # as above

        cluster = LocalCluster(**local)
    else:
        cluster = given
    return ClusterAddress(
        cluster.scheduler_address,
        security or cluster.security,
        cluster.scratch_root,
        cluster.expected_workers,
        cluster.locate_scheduler,
        cluster,
        given is None,
    )


def _from_environment(security: Any) -> ClusterAddress:
    file = os.environ.get("HOWDAH_SCHEDULER_FILE")
    return ClusterAddress(
        os.environ["HOWDAH_SCHEDULER"],
        security or os.environ.get("HOWDAH_SECURITY") or None,
        os.environ.get("HOWDAH_STAGING") or None,
        int(os.environ.get("HOWDAH_WORKERS") or 0),
        None if file is None else functools.partial(read_address_file, file),
    )
