"""Options of calls: what is accepted, what is completed from `annotate`, and what the errors suggest."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from howdah.engine.client import options
from howdah.engine.graph.annotations import annotate
from howdah.errors import InputError


def add(x: int, y: int = 0) -> int:
    return x + y


def test_a_keyword_that_neither_has_is_refused_with_a_suggestion() -> None:
    options.check_keywords(add, {"y": 1}, "submit")
    options.check_keywords(lambda **anything: anything, {"whatever": 1}, "submit")
    with pytest.raises(InputError, match=r"unknown keyword 'retrys'.*did you mean 'retries'"):
        options.check_keywords(add, {"retrys": 1}, "submit")


def test_options_of_the_call_go_before_those_around_it() -> None:
    with annotate(retries=5, priority=1, workers="node7"):
        found = options.options("submit", retries=0, priority=2)
    assert (found.retries, found.priority) == (0, 2)
    assert list(found.extras.values()) == [("node7",)]
    assert options.options("submit") == options.Options(0, 0, {})


@pytest.mark.parametrize(("name", "value"), [("retries", -1), ("priority", "high"), ("resources", {"gpu": 0})])
def test_values_that_cannot_be_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name):
        options.options("submit", **{name: value})


def test_a_timeout_is_the_tasks_unless_the_function_has_one() -> None:
    def waits(timeout: float) -> float:
        return timeout

    taken = {"timeout": 5}
    assert options.time_limit(add, taken) == {"timeout": 5.0}
    assert taken == {}
    kept = {"timeout": 5}
    assert options.time_limit(waits, kept) == {}
    assert kept == {"timeout": 5}


def test_keys_of_tasks() -> None:
    assert options.labels(None, 3, "map") is None
    assert options.labels("x", 1, "submit") == ["x"]
    assert options.labels("x", 2, "map") == ["x-0", "x-1"]
    assert options.labels(["a", "b"], 2, "map") == ["a", "b"]
    with pytest.raises(InputError, match="the same key is given twice"):
        options.labels(["a", "a"], 2, "map")
    with pytest.raises(InputError, match="1 keys"):
        options.labels(["a"], 2, "map")
    with pytest.raises(InputError, match="give a text"):
        options.labels(5, 1, "submit")


def test_what_cannot_be_called_is_refused() -> None:
    options.check_callable(functools.partial(add, 1))
    with pytest.raises(InputError, match="fn: got 5"):
        options.check_callable(5)
