"""howdah seats Python on Hadoop: `import howdah as hd`.

Re-exports what a user writes, and holds nothing of its own but errors, the version and the rule for waits between
attempts. Names are imported on first use, so that `import howdah` takes far less than 0.2 s. Nothing below imports this
module; its leaves (`howdah.errors`, `howdah.version`, `howdah.backoff`) import nothing of howdah.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from howdah.engine.execution import default_client
from howdah.engine.integrations import joblib_hook
from howdah.version import VERSION

if TYPE_CHECKING:
    from howdah.engine.api import (
        Client,
        Future,
        ProgressBar,
        as_completed,
        fire_and_forget,
        get_client,
        get_worker,
        progress,
        rejoin,
        secede,
        wait,
        worker_client,
    )
    from howdah.engine.client.account import account
    from howdah.engine.coordination import Event, Lock, Queue, Semaphore, Variable
    from howdah.engine.delayed.compute import compute, persist
    from howdah.engine.delayed.delayed import Delayed, delayed
    from howdah.engine.delayed.drawing import visualize
    from howdah.engine.deploy.local import LocalCluster
    from howdah.engine.frame import DataFrame, Series, from_pandas, read_parquet, read_table
    from howdah.engine.graph.annotations import annotate, get_annotations
    from howdah.engine.integrations.concurrent_futures import Executor
    from howdah.yarn_app import Specification, YarnCluster

__version__ = VERSION

_HOME = {
    "Client": "howdah.engine.api",
    "DataFrame": "howdah.engine.frame",
    "Delayed": "howdah.engine.delayed.delayed",
    "Event": "howdah.engine.coordination",
    "Executor": "howdah.engine.integrations.concurrent_futures",
    "Future": "howdah.engine.api",
    "LocalCluster": "howdah.engine.deploy.local",
    "Lock": "howdah.engine.coordination",
    "ProgressBar": "howdah.engine.api",
    "Queue": "howdah.engine.coordination",
    "Semaphore": "howdah.engine.coordination",
    "Series": "howdah.engine.frame",
    "Specification": "howdah.yarn_app",
    "Variable": "howdah.engine.coordination",
    "YarnCluster": "howdah.yarn_app",
    "account": "howdah.engine.client.account",
    "annotate": "howdah.engine.graph.annotations",
    "as_completed": "howdah.engine.api",
    "compute": "howdah.engine.delayed.compute",
    "delayed": "howdah.engine.delayed.delayed",
    "fire_and_forget": "howdah.engine.api",
    "from_pandas": "howdah.engine.frame",
    "get_annotations": "howdah.engine.graph.annotations",
    "get_client": "howdah.engine.api",
    "get_worker": "howdah.engine.api",
    "persist": "howdah.engine.delayed.compute",
    "progress": "howdah.engine.api",
    "read_parquet": "howdah.engine.frame",
    "read_table": "howdah.engine.frame",
    "rejoin": "howdah.engine.api",
    "secede": "howdah.engine.api",
    "visualize": "howdah.engine.delayed.drawing",
    "wait": "howdah.engine.api",
    "worker_client": "howdah.engine.api",
}

__all__ = [
    "Client",
    "DataFrame",
    "Delayed",
    "Event",
    "Executor",
    "Future",
    "LocalCluster",
    "Lock",
    "ProgressBar",
    "Queue",
    "Semaphore",
    "Series",
    "Specification",
    "Variable",
    "YarnCluster",
    "account",
    "annotate",
    "as_completed",
    "compute",
    "delayed",
    "fire_and_forget",
    "from_pandas",
    "get_annotations",
    "get_client",
    "get_worker",
    "persist",
    "progress",
    "read_parquet",
    "read_table",
    "rejoin",
    "secede",
    "visualize",
    "wait",
    "worker_client",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'howdah' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def _connect(address: Any = None, **options: Any) -> Any:
    return __getattr__("Client")(address, **options)


def _processes() -> Any:
    return importlib.import_module("howdah.engine.deploy.processes").processes()


default_client.install_factories(_connect, _processes)  # for the code below `howdah.engine.api`
joblib_hook.install()
