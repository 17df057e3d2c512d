"""A function of a module is opened once, for as long as its module has it; what has state, for each call."""

from __future__ import annotations

import functools
import importlib
import operator
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from howdah.engine.graph.adapters import StarCall
from howdah.engine.protocol.messages import DefineLayer
from howdah.engine.serialization.serialize import dumps
from howdah.engine.worker.task_code import LayerCode


def module_that_says(word: str, folder: Path) -> ModuleType:
    (folder / "uploaded_twice.py").write_text(f"def say():\n    return {word!r}  # {'.' * len(word)}\n")
    importlib.invalidate_caches()
    return importlib.import_module("uploaded_twice")


def layer_code(frame: bytes) -> LayerCode:
    return LayerCode(DefineLayer(b"k" * 16, "say", 1, (), ()), memoryview(frame))


def opened(frame: bytes) -> Any:
    code = layer_code(frame)
    code.open()
    return code.fn


def test_a_module_that_came_anew_has_its_new_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    frame = dumps((module_that_says("one", tmp_path).say, {}, False))
    assert opened(frame) is opened(frame)
    assert opened(frame)() == "one"
    monkeypatch.delitem(sys.modules, "uploaded_twice")
    module_that_says("another", tmp_path)
    assert opened(frame)() == "another"
    monkeypatch.delitem(sys.modules, "uploaded_twice")


class Tally:
    """Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def add(self) -> Tally:
        self.calls += 1
        return self

    __call__ = add


def closure_over_a_list() -> Any:
    kept: list[int] = []

    def note() -> list[int]:
        kept.append(1)
        return kept

    return note


def closure_that_assigns() -> Any:
    count = 0

    def note() -> int:
        nonlocal count
        count += 1
        return count

    return note


def default_that_grows() -> Any:
    def note(kept: list[int] = []) -> list[int]:  # noqa: B006  # what is tested
        kept.append(1)
        return kept

    return note


STATEFUL = {
    "bound method": lambda: Tally().add,
    "callable object": Tally,
    "partial": lambda: functools.partial(operator.iadd, [], [1]),
    "method of a list": lambda: [3, 1].pop,
    "closure": closure_over_a_list,
    "nonlocal": closure_that_assigns,
    "default": default_that_grows,
    "function in a partial": lambda: functools.partial(call, closure_over_a_list()),
    "inputs as arguments": lambda: StarCall(closure_over_a_list()),
}


def call(fn: Any) -> Any:
    return fn()


@pytest.mark.parametrize("kind", STATEFUL)
def test_calls_share_no_state(kind: str) -> None:
    code = layer_code(dumps((STATEFUL[kind](), {}, False)))
    code.open()
    arguments = dumps(([],)) if kind == "inputs as arguments" else None
    first, second, third = (code.call([], arguments) for _ in range(3))
    if isinstance(first, Tally):
        assert first.calls == second.calls == third.calls == 1
    else:
        assert first == second == third
        assert isinstance(first, int) or first is not second


def test_keyword_arguments_are_not_shared() -> None:
    code = layer_code(dumps((note_in, {"kept": []}, False)))
    code.open()
    assert [code.call([], None) for _ in range(3)] == [[1], [1], [1]]


def note_in(kept: list[int]) -> list[int]:
    kept.append(1)
    return kept


def closure_over_a_function(fn: Any) -> Any:
    def called(x: Any) -> Any:
        return fn(x)

    return called


SHARED = {
    "function of a module": os.path.join,
    "builtin": abs,
    "class": dict,
    "method of a text": "{}".format,
    "partial of numbers": functools.partial(pow, 2),
    "closure over a function": closure_over_a_function(abs),
    "operator": operator.itemgetter(1),
}


@pytest.mark.parametrize("kind", SHARED)
def test_what_has_no_state_is_opened_once(kind: str) -> None:
    code = layer_code(dumps((SHARED[kind], {}, False)))
    code.open()
    assert not code.per_item
