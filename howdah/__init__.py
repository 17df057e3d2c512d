"""howdah seats Python on Hadoop: `import howdah as hd`.

The face of the house: it re-exports what a user writes and holds nothing of its own but the errors and the
configuration. Names are imported on first use, so that `import howdah` stays far under 0.2 s.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from howdah.engine.client import Client, Future, as_completed, wait
    from howdah.engine.frame import DataFrame, Series, from_pandas, read_parquet
    from howdah.engine.local_cluster import LocalCluster
    from howdah.yarn_app import Specification, YarnCluster

__version__ = "0.1.0"

_HOME = {
    "Client": "howdah.engine.client",
    "DataFrame": "howdah.engine.frame",
    "Future": "howdah.engine.client",
    "LocalCluster": "howdah.engine.local_cluster",
    "Series": "howdah.engine.frame",
    "Specification": "howdah.yarn_app",
    "YarnCluster": "howdah.yarn_app",
    "as_completed": "howdah.engine.client",
    "from_pandas": "howdah.engine.frame",
    "read_parquet": "howdah.engine.frame",
    "wait": "howdah.engine.client",
}

__all__ = [
    "Client",
    "DataFrame",
    "Future",
    "LocalCluster",
    "Series",
    "Specification",
    "YarnCluster",
    "as_completed",
    "from_pandas",
    "read_parquet",
    "wait",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'howdah' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
