"""The client's side of a cluster: `Client`, `Future`, `as_completed`, `wait`, and the owner's line (`owner.py`).

For users, collections (through `engine/execute.py`) and applications. No wait here can hang: each ends with its
result, its deadline, or the loss of the cluster.
"""

from howdah.engine.away import rejoin, secede
from howdah.engine.client.client import Client
from howdah.engine.client.future import Future
from howdah.engine.client.nested import fire_and_forget, get_client, get_worker, worker_client
from howdah.engine.client.progress_bar import ProgressBar, progress
from howdah.engine.client.waiting import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, as_completed, wait

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
