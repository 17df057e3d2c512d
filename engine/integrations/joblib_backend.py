"""joblib on a cluster, and what is built on joblib (scikit-learn): ``with joblib.parallel_config("howdah"): ...``.

Needs joblib, which howdah itself does not; `joblib_hook` registers it. Large arrays and frames among the arguments are
sent once per `Parallel` call: all tasks share one, arrays read-only, as with joblib's own processes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from joblib._parallel_backends import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)
from joblib.parallel import parallel_config

from howdah.engine.coordination.worker_context import current_client
from howdah.engine.deploy.local import LocalCluster
from howdah.engine.execution.task_context import slot_released
from howdah.engine.integrations.concurrent_futures import Executor
from howdah.engine.serialization.serialize import dumps, loads
from howdah.engine.serialization.shared_code import is_shareable
from howdah.errors import DeadlineExceeded, bad_value

LARGE = 1 << 20
"""Bytes from which on an argument is sent once (joblib's own default of `max_nbytes`)."""

SHARED = frozenset({"numpy", "pandas", "polars", "pyarrow", "scipy"})
"""Packages whose arrays, frames and matrices are sent once."""

WORKERS_SECONDS = 10.0
"""How long the number of jobs waits for workers that are still starting."""

Task = tuple[Callable[..., Any], tuple[Sequence[Any], dict[str, Any]]]


class HowdahBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # joblib has no types
    """What `joblib.parallel_config("howdah", ...)` makes.

    Parameters
    ----------
    client : whose cluster is used; None is the default one, in a task the worker's.
    nesting_level : joblib's own.
    **options : of `Client.submit`, for every batch (`retries`, `priority`, ...).

    A `Parallel` inside of a task runs on the same cluster; another task gets its slot while it waits.
    """

    default_n_jobs = -1
    supports_retrieve_callback = True
    supports_sharedmem = False
    uses_threads = False

    def __init__(self, client: Any = None, nesting_level: int | None = None, **options: Any) -> None:
        super().__init__(nesting_level=nesting_level)
        self._given, self._options = client, options
        self._executor: Executor | None = None
        self._shared: dict[int, tuple[Any, Any]] = {}

    def __reduce__(self) -> Any:
        return _nested, (self.nesting_level, self._options)

    @property
    def client(self) -> Any:
        return current_client(self._given)

    # -- number of jobs -----------------------------------------------------------------------------------------------

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """`n_jobs` as asked for; -1 and None: the slots of all workers, -2: all but one, ..."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            n_jobs = self.default_n_jobs
        return int(n_jobs) if n_jobs > 0 else max(self._slots() + 1 + n_jobs, 1)

    def _slots(self) -> int:
        client = self.client
        with contextlib.suppress(DeadlineExceeded):  # then with those that are there
            if isinstance(client.cluster, LocalCluster):
                client.cluster.wait_for_workers(timeout=WORKERS_SECONDS)
            else:
                client.wait_for_workers(1, WORKERS_SECONDS)
        workers: dict[str, dict[str, int]] = client.scheduler_info()["workers"]
        return max(1, sum(worker["slots"] for worker in workers.values()))

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **settings: Any) -> int:
        found = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        if settings.get("require") == "sharedmem":
            raise bad_value("require", "sharedmem", "workers are processes of their own; use joblib's threads for this")
        self.parallel = parallel
        self._executor = Executor(client=self.client, **self._options)
        return found

    def get_nested_backend(self) -> tuple[Any, int | None]:
        return HowdahBackend(self._given, (self.nesting_level or 0) + 1, **self._options), None

    # -- calls --------------------------------------------------------------------------------------------------------

    def stop_call(self) -> None:
        self._shared = {}

    def terminate(self) -> None:
        self.reset_batch_stats()
        self._shared = {}

    def submit(self, func: Any, callback: Callable[[Any], object] | None = None) -> Any:
        assert self._executor is not None
        tasks: list[Any] = [
            (fn, self._sent(args), dict(zip(kwargs, self._sent(kwargs.values())))) for fn, args, kwargs in func.items
        ]
        if len(tasks) > 1:  # each with objects of its own: one call must not change what the next one receives
            tasks = [(fn if is_shareable(fn) else _Alone(fn), _Alone((args, kwargs))) for fn, args, kwargs in tasks]
        else:
            tasks = [(fn, (args, kwargs)) for fn, args, kwargs in tasks]
        future = self._executor.submit(run_batch, tasks, (func._backend, func._n_jobs))  # noqa: SLF001  # joblib's batches name them so
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Any) -> Any:
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            if ensure_ready:
                self._executor = Executor(client=self.client, **self._options)

    @contextlib.contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Release the slot of a task while it waits for its own tasks."""
        with slot_released():
            yield

    def _sent(self, arguments: Any) -> list[Any]:
        """The arguments, large ones as references to what is on the cluster already."""
        return [self._reference(value) if _is_large(value) else value for value in arguments]

    def _reference(self, value: Any) -> _Shared:
        known = self._shared.get(id(value))
        if known is None:  # the value is kept here too, so that no other gets its id
            known = self._shared[id(value)] = (value, self.client.submit(_itself, value))
        return _Shared(known[1])


class _Shared:
    """An argument that was sent once: a future here, its value in the task."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def opened(self) -> Any:
        value = self.value
        if type(value).__module__ == "numpy" and hasattr(value, "setflags"):
            value = value.view()
            value.setflags(write=False)  # tasks share it
        return value


def run_batch(tasks: Sequence[Task], nested: tuple[Any, int | None]) -> list[Any]:
    """Run a batch of joblib's calls: the function of its tasks."""
    backend, n_jobs = nested
    with parallel_config(backend=backend, n_jobs=n_jobs):
        return [
            fn(*map(_opened, args), **{name: _opened(value) for name, value in kwargs.items()})
            for fn, (args, kwargs) in tasks
        ]


class _Alone:
    """A part of a batch that is pickled by itself, so that it shares no object with others."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return loads, (dumps(self.value),)


def _opened(value: Any) -> Any:
    return value.opened() if type(value) is _Shared else value


def _itself(value: Any) -> Any:
    return value


def _is_large(value: Any) -> bool:
    if type(value).__module__.partition(".")[0] not in SHARED:
        return False
    from howdah.engine.worker.store.store import size_of_value

    parts = (
        [getattr(value, name, None) for name in ("data", "indices", "indptr")] if hasattr(value, "indptr") else [value]
    )
    return sum(size_of_value(part) for part in parts if part is not None) >= LARGE


def _nested(level: int | None, options: dict[str, Any]) -> HowdahBackend:
    return HowdahBackend(None, level, **options)
