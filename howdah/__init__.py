"""howdah seats Python on Hadoop: `import howdah as hd`.

The face of the house: it re-exports what a user writes and holds nothing of its own but the errors and the
configuration. Names are imported on first use, so that `import howdah` stays far under 0.2 s.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from howdah.engine import joblib_hook

if TYPE_CHECKING:
    from howdah.engine.annotations import annotate, get_annotations
    from howdah.engine.client import (
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
    from howdah.engine.collection import compute, persist
    from howdah.engine.coordination import Event, Lock, Queue, Semaphore, Variable
    from howdah.engine.delayed import Delayed, delayed
    from howdah.engine.executor import Executor
    from howdah.engine.frame import DataFrame, Series, from_pandas, read_parquet
    from howdah.engine.local_cluster import LocalCluster
    from howdah.engine.observe.drawing import visualize
    from howdah.yarn_app import Specification, YarnCluster

__version__ = "0.1.0"

_HOME = {
    "Client": "howdah.engine.client",
    "DataFrame": "howdah.engine.frame",
    "Delayed": "howdah.engine.delayed",
    "Event": "howdah.engine.coordination",
    "Executor": "howdah.engine.executor",
    "Future": "howdah.engine.client",
    "LocalCluster": "howdah.engine.local_cluster",
    "Lock": "howdah.engine.coordination",
    "ProgressBar": "howdah.engine.client",
    "Queue": "howdah.engine.coordination",
    "Semaphore": "howdah.engine.coordination",
    "Series": "howdah.engine.frame",
    "Specification": "howdah.yarn_app",
    "Variable": "howdah.engine.coordination",
    "YarnCluster": "howdah.yarn_app",
    "annotate": "howdah.engine.annotations",
    "as_completed": "howdah.engine.client",
    "compute": "howdah.engine.collection",
    "delayed": "howdah.engine.delayed",
    "fire_and_forget": "howdah.engine.client",
    "from_pandas": "howdah.engine.frame",
    "get_annotations": "howdah.engine.annotations",
    "get_client": "howdah.engine.client",
    "get_worker": "howdah.engine.client",
    "persist": "howdah.engine.collection",
    "progress": "howdah.engine.client",
    "read_parquet": "howdah.engine.frame",
    "rejoin": "howdah.engine.client",
    "secede": "howdah.engine.client",
    "visualize": "howdah.engine.observe.drawing",
    "wait": "howdah.engine.client",
    "worker_client": "howdah.engine.client",
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


joblib_hook.install()
