"""A function of a module is opened once, for as long as its module has it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from howdah.engine.protocol.messages import DefineLayer
from howdah.engine.serialization.serialize import dumps
from howdah.engine.worker.task_code import LayerCode


def module_that_says(word: str, folder: Path) -> ModuleType:
    (folder / "uploaded_twice.py").write_text(f"def say():\n    return {word!r}  # {'.' * len(word)}\n")
    importlib.invalidate_caches()
    return importlib.import_module("uploaded_twice")


def opened(frame: bytes) -> Any:
    code = LayerCode(DefineLayer(b"k" * 16, "say", 1, (), ()), memoryview(frame))
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


def test_what_travels_by_value_is_nobody_elses() -> None:
    kept: list[int] = []

    def note() -> list[int]:
        kept.append(1)
        return kept

    frame = dumps((note, {}, False))
    assert opened(frame)() == opened(frame)() == [1]
