"""Collections as arguments of tasks: computed inside the task, where their values are needed."""

from __future__ import annotations

from typing import Any

from howdah.engine.coordination.worker_context import current_client, current_worker


def compute_in_task(collection: Any) -> Any:
    """Compute a frame, or another lazy collection, inside the task that has it as an argument.

    On a worker its cluster computes it; the task's slot is free for other tasks meanwhile.
    """
    return collection.compute(scheduler="threads" if current_worker() is None else current_client())
