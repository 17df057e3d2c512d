"""Progress per layer, and the accounts of locality and movement, as records. Called by `views`."""

from __future__ import annotations

from typing import Any

import msgspec

from howdah.engine.scheduler.core.state import SchedulerState
from howdah.engine.scheduler.core.tables import DONE, FAILED, IDLE, READY, RUNNING, WAITING, LayerState, LayerStatistics


class LayerSummary(msgspec.Struct, frozen=True):
    """One layer, or all forgotten layers of one name together (`live` is False).

    `done` counts results that are there now; `tasks` all that were ever completed, those since freed and repeated ones
    included. The next six are for items with preferred hosts, by where they ran: how many, and the bytes they read
    from outside the engine. `inputs_local` and `inputs_moved` are bytes of other tasks' results that the worker had or
    had to fetch. `seconds` is slots' time.
    """

    name: str
    n: int = 0
    done: int = 0
    running: int = 0
    waiting: int = 0
    failed: int = 0
    idle: int = 0
    live: bool = True
    tasks: int = 0
    tasks_node: int = 0
    tasks_rack: int = 0
    tasks_remote: int = 0
    bytes_node: int = 0
    bytes_rack: int = 0
    bytes_remote: int = 0
    inputs_local: int = 0
    inputs_moved: int = 0
    runs: int = 0
    seconds: float = 0.0


class Summary(msgspec.Struct, frozen=True):
    """Everything at once; sums over layers in the same names as `LayerSummary`'s."""

    layers: tuple[LayerSummary, ...]
    workers: int
    slots: int
    clients: int
    tasks: int
    tasks_node: int
    tasks_rack: int
    tasks_remote: int
    bytes_node: int
    bytes_rack: int
    bytes_remote: int
    inputs_local: int
    inputs_moved: int
    runs: int
    seconds: float
    stale_reports: int
    excluded: tuple[str, ...] = ()
    """Hosts that get no work for a while (`host_exclusion`)."""


def layer_summary(layer: LayerState) -> LayerSummary:
    """The layer's progress and statistics."""
    counts, account = layer.counts, layer.statistics or LayerStatistics()
    return LayerSummary(
        layer.name,
        layer.n,
        counts[DONE],
        counts[RUNNING],
        counts[WAITING] + counts[READY],
        counts[FAILED],
        counts[IDLE],
        True,
        **_figures(account),
    )


def _figures(account: LayerStatistics) -> dict[str, Any]:
    return {name: getattr(account, name) for name in LayerStatistics.__struct_fields__}


def summarise(state: SchedulerState, layers: bool = True) -> Summary:
    """The statistics of all layers, and with `layers` those of each."""
    total = LayerStatistics()
    for account in state.forgotten_statistics.values():
        total.add(account)
    listed = []
    for layer in state.layers.values():
        if layer.statistics is not None:
            total.add(layer.statistics)
        if layers:
            listed.append(layer_summary(layer))
    if layers:
        listed += [
            LayerSummary(name, live=False, **_figures(account)) for name, account in state.forgotten_statistics.items()
        ]
    return Summary(
        tuple(listed),
        len(state.workers),
        state.slots,
        len(state.clients),
        stale_reports=state.stale_reports,
        excluded=tuple(state.excluded_hosts),
        **_figures(total),
    )


def to_dict(summary: Summary) -> dict[str, Any]:
    """The summary as a JSON object."""
    fields: dict[str, Any] = {name: getattr(summary, name) for name in summary.__struct_fields__}
    fields["layers"] = [{f: getattr(s, f) for f in s.__struct_fields__} for s in summary.layers]
    return msgspec.to_builtins(fields)  # type: ignore[no-any-return]
