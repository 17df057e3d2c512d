"""What a user calls on a cluster: `Client`, its functions inside tasks, and their options.

For users (through `howdah`) and applications. Composes the parts of `howdah.engine.client`. Every wait ends with its
result, its deadline, or the loss of the cluster.
"""

from howdah.engine.api.client import Client
from howdah.engine.api.in_task import fire_and_forget, get_client, get_worker, worker_client
from howdah.engine.client.as_completed import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, as_completed, wait
from howdah.engine.client.future import Future
from howdah.engine.client.progress import ProgressBar, progress
from howdah.engine.execution.task_context import rejoin, secede

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "Client",
    "Future",
    "ProgressBar",
    "as_completed",
    "fire_and_forget",
    "get_client",
    "get_worker",
    "progress",
    "rejoin",
    "secede",
    "wait",
    "worker_client",
]
