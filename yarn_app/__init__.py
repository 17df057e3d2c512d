"""One YARN application: what is asked for, how it is submitted, what runs in its containers, and the `howdah` command.

Called by users (`Specification`, `YarnCluster`) and by the command line; it uses the other top-level folders, and none
of them uses it. It promises: every wait has a deadline; what the edge node can see to be wrong is refused before
anything is submitted; after any end nothing is left in YARN, in HDFS's staging or on this machine.

    specification   what is asked for                         yarn      skein, the ResourceManager, logs, this edge node
    protocol        what edge node, master, workers exchange  storage   files in HDFS and bundles for containers
    submit          from there to a running application       ui        progress, events, summary
    master, worker  what runs in the containers               cli       the `howdah` command
    cluster.py      `YarnCluster`                             mini      a small Hadoop on one machine

Names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from howdah.yarn_app.cluster import YarnCluster
    from howdah.yarn_app.specification.specification import Specification

_HOME = {"Specification": "howdah.yarn_app.specification.specification", "YarnCluster": "howdah.yarn_app.cluster"}

__all__ = ["Specification", "YarnCluster"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'howdah.yarn_app' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
