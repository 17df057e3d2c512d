"""The modelled cluster as a state machine of hypothesis: it chooses the moves, and cuts failing ones down its own way.

`test_simulation.py` draws many more scenarios from seeds; here the search is hypothesis's, which meets other ones.
HYPOTHESIS_PROFILE=search looks for new ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from howdah.engine.scheduler.core import transitions
from howdah.engine.scheduler.simulation.scenarios import new_model

few = st.integers(0, 5)
letters = "abc"
lengths = {"a": 5, "b": 5, "c": 2}


class Cluster(RuleBasedStateMachine):
    """Numbers choose among the workers and clients that there are; the books are checked after every event."""

    @initialize(speculation=st.booleans(), retries=st.integers(0, 1))
    def begin(self, speculation: bool, retries: int) -> None:
        self.model = model = new_model(speculation)
        model.layer("a", 5, retries=retries)
        model.layer("b", 5, ("a", "window", 1, 1))
        model.layer("c", 2, ("b", "k", 3), ("a", "all"))
        for i in range(2):
            model.join_worker(f"w{i}", f"h{i}")
            model.join_client(f"c{i}")
        model.submit("c0", "abc", [("c", 0, 2)])

    def worker(self, number: int) -> str:
        names = list(self.model.workers)
        return names[number % len(names)] if names else ""

    def client(self, number: int) -> str:
        names = list(self.model.clients)
        return names[number % len(names)] if names else ""

    @rule(worker=few, times=st.integers(1, 8), slot=st.integers(0, 1))
    def step(self, worker: int, times: int, slot: int) -> None:
        for _ in range(times):
            self.model.step(self.worker(worker), slot)

    @rule(worker=few, which=few)
    def report(self, worker: int, which: int) -> None:
        self.model.report(self.worker(worker), which)

    @rule(times=st.integers(1, 10))
    def work(self, times: int) -> None:
        for _ in range(times):
            for name in list(self.model.workers):
                self.model.step(name) or self.model.report(name)

    @rule(which=few)
    def echo(self, which: int) -> None:
        self.model.echo(which)

    @rule(slots=st.integers(1, 2), host=st.integers(0, 2))
    def join(self, slots: int, host: int) -> None:
        if len(self.model.workers) < 5:
            self.model.join_worker(f"w{self.model.pid + 1}", f"h{host}", slots=slots)

    @rule(worker=few, how=st.sampled_from(["kill", "leave", "replace", "unlink", "stall", "relink"]))
    def trouble(self, worker: int, how: str) -> None:
        name, model = self.worker(worker), self.model
        if not name:
            return
        trouble: dict[str, Callable[[], Any]] = {
            "kill": lambda: model.kill(name),
            "leave": lambda: model.kill(name, clean=True),
            "replace": lambda: model.join_worker(name),
            "unlink": lambda: model.unlink(name),
            "stall": lambda: model.unlink(name, noticed=False),
            "relink": lambda: model.relink(name),
        }
        trouble[how]()

    @rule(one=few, other=few)
    def cut(self, one: int, other: int) -> None:
        if self.worker(one) != self.worker(other):
            self.model.cut(self.worker(one), self.worker(other))

    @rule(compacted=st.booleans(), first=few)
    def restart(self, compacted: bool, first: int) -> None:
        self.model.restart(compacted)
        self.model.relink(self.worker(first))

    @rule(client=few, letter=st.sampled_from(letters), lo=few, more=few, priority=st.integers(0, 1))
    def submit(self, client: int, letter: str, lo: int, more: int, priority: int) -> None:
        self.model.submit(self.client(client), "abc", [(letter, lo, lo + more + 1)], priority)

    @rule(
        client=few,
        letter=st.sampled_from(letters),
        lo=few,
        more=few,
        how=st.sampled_from(["release", "cancel", "retry"]),
    )
    def ask(self, client: int, letter: str, lo: int, more: int, how: str) -> None:
        getattr(self.model, how)(self.client(client), letter, lo, lo + more + 1)

    @rule(client=few, letter=st.sampled_from(letters), item=few)
    def unfetched(self, client: int, letter: str, item: int) -> None:
        self.model.unfetched(self.client(client), letter, item)

    @rule(client=few)
    def leave(self, client: int) -> None:
        if len(self.model.clients) > 1:
            self.model.leave_client(self.client(client))

    @rule(letter=st.sampled_from(letters), item=few, times=st.sampled_from([1, 5]))
    def raises(self, letter: str, item: int, times: int) -> None:
        self.model.raises(letter, item % lengths[letter], times)

    @rule(worker=few, letter=st.sampled_from(letters), lo=few)
    def copy(self, worker: int, letter: str, lo: int) -> None:
        self.model.copy(self.worker(worker), letter, lo, lo + 2)

    @rule(worker=few, slots=st.integers(1, 3))
    def slots(self, worker: int, slots: int) -> None:
        self.model.slots(self.worker(worker), slots)

    @rule(seconds=st.sampled_from([0.5, 5.0]))
    def wait(self, seconds: float) -> None:
        self.model.wait(seconds)

    def teardown(self) -> None:
        if hasattr(self, "model"):
            self.model.settle()
            self.model.end()


def play(examples: int, *phases: Phase) -> None:
    chosen = settings(max_examples=examples, stateful_step_count=40, deadline=None, report_multiple_bugs=False)
    run_state_machine_as_test(Cluster, settings=settings(chosen, phases=phases) if phases else chosen)


def test_whatever_happens_the_answers_are_right() -> None:
    play(40)


@pytest.mark.slow
def test_whatever_happens_the_answers_are_right_and_longer() -> None:
    play(400)


def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transitions, "_set_back", lambda *_: None)
    with pytest.raises(AssertionError):
        play(200, Phase.generate)  # cutting it down takes long
