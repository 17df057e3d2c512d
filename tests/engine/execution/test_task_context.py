"""Slots of tasks that wait: released once, however the waits nest, and taken again."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from howdah.engine.execution.task_context import (
    current_task,
    in_task,
    register_slot_thread,
    rejoin,
    secede,
    slot_released,
)


class Slots:
    """Writes down what is done with the slots."""

    def __init__(self) -> None:
        self.log: list[Any] = []

    def release_slot(self, work: Any) -> None:
        self.log.append(("released", work))

    def reacquire_slot(self, thread_goes_on: bool) -> None:
        self.log.append(("reacquired", thread_goes_on))


def on_a_slot(story: Any) -> list[Any]:
    """What is done with the slots while `story` runs on a slot's thread."""
    slots, errors = Slots(), []

    def run() -> None:
        try:
            story(register_slot_thread(slots))
        except BaseException as error:
            errors.append(error)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert errors == []
    return slots.log


def test_outside_of_a_task_nothing_happens() -> None:
    secede()
    rejoin()
    with slot_released():
        assert not in_task()
    assert current_task() is None

    def idle(context: Any) -> None:
        with slot_released():
            secede()

    assert on_a_slot(idle) == []


def test_nested_waits_release_the_slot_once() -> None:
    def story(context: Any) -> None:
        context.work = "batch"
        assert in_task()
        assert current_task() == "batch"
        with slot_released(), slot_released():
            pass

    assert on_a_slot(story) == [("released", "batch"), ("reacquired", True)]


def test_a_wait_that_raises_takes_the_slot_again() -> None:
    def story(context: Any) -> None:
        context.work = "batch"
        with pytest.raises(ValueError, match="x"), slot_released():
            raise ValueError("x")

    assert on_a_slot(story) == [("released", "batch"), ("reacquired", True)]


def test_a_task_that_seceded_waits_without_a_slot_and_its_thread_ends() -> None:
    def story(context: Any) -> None:
        context.work = "batch"
        secede()
        secede()
        with slot_released():
            pass
        assert context.ended()
        assert not context.ended()

    assert on_a_slot(story) == [("released", "batch"), ("reacquired", False)]


def test_after_rejoin_the_thread_goes_on() -> None:
    def story(context: Any) -> None:
        context.work = "batch"
        secede()
        rejoin()
        assert not context.ended()

    assert on_a_slot(story) == [("released", "batch"), ("reacquired", True)]
