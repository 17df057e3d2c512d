"""A task of which workers die is found out, costs three of them, and nobody else's task fails for it."""

from __future__ import annotations

import pytest

from howdah.engine.scheduler.simulation.cluster import Model, key_of
from howdah.engine.scheduler.simulation.scenarios import new_model


def failed(model: Model, client: str = "me") -> set[tuple[str, int]]:
    return {(chr(96 + key[0]), item) for (key, item), what in model.answers(client).items() if what == "lost"}


@pytest.mark.parametrize("slots", [1, 2, 4])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("poisonous", [0, 13, 23])
def test_three_workers_die_of_it_and_its_neighbours_come_through(workers: int, slots: int, poisonous: int) -> None:
    """Reports of what was done before are lost in the crash, so the books cannot know which of its runs it was."""
    model = new_model()
    for i in range(workers):
        model.join_worker(f"w{i}", f"h{i}", slots=slots)
    model.layer("a", 24)
    model.layer("b", 24, ("a", "one"))
    model.poison("b", poisonous)
    model.join_client("me")
    model.submit("me", "ab", [("a", 0, 24), ("b", 0, 24)])
    model.settle()
    assert failed(model) == {("b", poisonous)}
    assert model.ledger.deaths[key_of("b"), poisonous] == 3
    deaths = model.pid - len(model.workers)
    assert deaths == 3
    model.end()


def test_two_poisonous_tasks_are_both_found_out() -> None:
    model = new_model()
    model.join_worker("w0", slots=2)
    model.join_worker("w1", slots=2)
    model.layer("a", 24)
    model.poison("a", 3)
    model.poison("a", 4)
    model.join_client("me")
    model.submit("me", "a", [("a", 0, 24)])
    model.settle()
    assert failed(model) == {("a", 3), ("a", 4)}
    assert model.pid - len(model.workers) <= 6


def test_the_others_go_on_while_a_suspect_is_alone() -> None:
    """One worker of eight is kept for it, the others keep their credit."""
    model = new_model()
    for i in range(8):
        model.join_worker(f"w{i}")
    model.layer("a", 24)
    model.join_client("me")
    model.submit("me", "a", [("a", 0, 24)])
    for _ in range(2):  # whoever has a[0] dies
        state = model.scheduler.state
        run = next(run for run in state.batches.values() if run.lo == 0)
        model.kill(run.worker.name)
        model.join_worker(f"w{model.pid}")
    state = model.scheduler.state
    assert len(state.isolated_workers) == 1
    (kept,) = state.isolated_workers.values()
    assert not set(state.idle) & set(state.isolated_workers)
    model.settle()
    assert not state.isolated_workers
    assert not failed(model)
    assert kept.index in state.idle


def test_what_has_come_through_is_not_blamed_for_it_any_more() -> None:
    model = new_model()
    model.join_worker("w0")
    model.layer("a", 3)
    model.join_client("me")
    model.submit("me", "a", [("a", 0, 3)])
    for i in range(6):  # unlucky, but not at fault: it always comes through in the end
        if i % 2:
            model.settle()
        model.kill(next(iter(model.workers)))
        model.join_worker(f"w{model.pid}")
    model.settle()
    assert not failed(model)
    assert not model.scheduler.state.layers[key_of("a")].worker_deaths
