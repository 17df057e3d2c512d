"""Random clusters and graphs, everything that can go wrong, and the books checked after every event.

`scenario.py` makes a scenario of a seed; a failing one is cut down and printed as a script. More of them than fit
here run for as long as they are told in `make soak`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from howdah.engine.protocol.events import GraphSubmitted
from howdah.engine.scheduler.core import placement, recovery, restart, speculation, transitions
from howdah.engine.scheduler.core.results import ResultTable
from howdah.engine.scheduler.simulation.cluster import Model, layer, whole
from howdah.engine.scheduler.simulation.invariants import BrokenInvariant, check_invariants
from howdah.engine.scheduler.simulation.scenarios import Failure, Play, search

BLOCKS, BLOCK = 20, 110
"""Scenarios with mishaps: 2,200 in `make test`, the first blocks in `make unit`."""

QUICK = 2

blocks = [pytest.param(b, marks=() if b < QUICK else pytest.mark.slow) for b in range(BLOCKS)]


def none_fails(failure: Failure | None) -> None:
    if failure is not None:
        pytest.fail(str(failure), pytrace=False)


def each_ran_once(model: Model) -> None:
    needed = set()
    stack = [task for client in model.clients.values() for task in client.tasks]
    while stack:
        task = stack.pop()
        if task not in needed:
            needed.add(task)
            stack += model.inputs(task)
    assert set(model.executed) == needed
    # what one client has had made and dropped, the next may ask for
    assert max(model.executed.values(), default=0) <= len(model.clients)


@pytest.mark.parametrize("block", range(3))
def test_without_faults_everything_needed_runs_exactly_once(block: int) -> None:
    none_fails(search(range(block * 60, block * 60 + 60), faults=False, then=each_ran_once))


@pytest.mark.parametrize("block", blocks)
def test_with_faults_every_answer_is_right_or_an_error_with_its_cause(block: int) -> None:
    none_fails(search(range(1000 + block * BLOCK, 1000 + (block + 1) * BLOCK), faults=True))


def test_no_two_scenarios_are_the_same() -> None:
    scripts = set()
    for seed in range(1000, 1100):
        play = Play(seed, faults=True)
        play.run()
        scripts.add(tuple(map(str, play.moves)))
    assert len(scripts) == 100


def test_same_events_same_instructions() -> None:
    assert Play(1234, faults=True).run().log == Play(1234, faults=True).run().log


def test_the_scenarios_have_everything_in_them() -> None:
    """Every kind of move is made, and has an effect: a generator that went stale would find nothing."""
    moves, instructions = set(), set()
    for seed in range(1000, 1000 + BLOCK):
        play = Play(seed, faults=True)
        model = play.run()
        moves.update(move.name for move in play.moves)
        instructions.update(type(instruction).__name__ for _, _, out in model.log for instruction in out)
    assert moves >= {
        "arguments", "cancel", "comes_back", "copy", "cut", "echo", "join_client", "join_worker", "kill", "layer",
        "leave_client", "mend", "poison", "racks", "raises", "release", "relink", "report", "restart", "retry",
        "settle", "slots", "step", "submit", "unfetched", "unlink", "wait",
    }  # fmt: skip
    assert instructions >= {
        "StartBatch",
        "RecallBatch",
        "FreeRanges",
        "NotifyDone",
        "NotifyFailed",
        "NotifyLost",
        "ForgetLayer",
    }


# -- a planted fault is found, cut down, and printed as a script that shows it ----------------------------------------


def lose_nothing(*_: Any, **__: Any) -> None:
    """Instead of what should be done."""


TWINS = range(2280, 2320)
"""Scenarios among which is one with a straggler whose twin is quicker."""

PLANTED = [
    pytest.param(
        transitions, "_set_back", lose_nothing, BrokenInvariant, id="ready items whose inputs were lost stay ready"
    ),
    pytest.param(ResultTable, "free", lose_nothing, AssertionError, id="nothing is ever freed"),
    pytest.param(placement, "worker_removed", lose_nothing, AssertionError, id="work stays offered to a dead worker"),
    pytest.param(
        recovery, "adopt_results", lose_nothing, AssertionError, id="what workers bring along is not looked at"
    ),
    pytest.param(
        restart, "is_taking_inventory", lambda state: False, AssertionError, id="nobody waits for the inventory"
    ),
    pytest.param(speculation, "cancel_copy", lose_nothing, BrokenInvariant, id="a twin is forgotten"),
]


@pytest.mark.parametrize(("where", "what", "instead", "kind"), PLANTED)
def test_a_planted_fault_is_found_and_its_script_shows_it(
    monkeypatch: pytest.MonkeyPatch, where: Any, what: str, instead: Callable[..., Any], kind: type[Exception]
) -> None:
    with monkeypatch.context() as planted:
        planted.setattr(where, what, instead)
        failure = search([*range(1001, 1000 + BLOCK), *TWINS], faults=True)
        assert failure is not None, "the planted fault was not found"
        assert len(failure.moves) <= 45
        program = str(failure)
        program = program[program.index("from howdah") :]
        with pytest.raises(kind):
            exec(program, {})
    exec(program, {})  # without the fault the same script shows nothing


def test_the_books_are_really_checked() -> None:
    """A state with a lost count, a forgotten group or a missing holder does not pass."""
    for damage in (
        lambda layer_state: layer_state.dependent_refs.__setitem__(0, 7),
        lambda layer_state: layer_state.ready.clear(),
        lambda layer_state: layer_state.counts.__setitem__(1, 3),
        lambda layer_state: layer_state.client_refs.__setitem__(1, 0),
    ):
        model = Model()
        model.join_client("me")
        spec = layer("a", 3)
        model.event(GraphSubmitted("me", (spec,), (whole(spec),)))
        check_invariants(model.scheduler)
        damage(model.scheduler.state.layers[spec.key])
        with pytest.raises(BrokenInvariant):
            check_invariants(model.scheduler)
