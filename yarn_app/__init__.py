"""One YARN application: what is asked for, how it is submitted, what runs in its containers, and the `howdah` command.

Called by users (`Specification`, `YarnCluster`) and by the command line; uses all other rooms of the house and is
used by none. It promises: nothing waits without end; what the edge can see to be wrong is refused before anything is
submitted; after any end nothing is left in YARN, in HDFS's staging or on this machine.

    specification, translate, sizes   what is asked for               skein_port          the one door to skein
    submission, payload, staging      from there to YARN              resource_manager    YARN over REST
    application, cluster              a running one, from the edge    edge, logs          this machine; containers' logs
    master, fleet, scheduler_link     the application master's side   worker_role         a worker's container
    keys                              names they meet under           progress, summary   what people see

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
