"""Compiled modules: never checked against their source, kept by content, and left out where a file does not compile."""

from __future__ import annotations

import marshal
import os
import sys
from pathlib import Path

import pytest

from howdah.envpack import bytecode
from howdah.envpack.interpreter import Interpreter, probe
from howdah.envpack.records import Member


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Interpreter:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return probe()


def member(folder: Path, name: str, text: str) -> Member:
    path = folder / name
    path.write_text(text)
    return Member(f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/{name}", str(path))


def test_modules_are_compiled_and_others_are_not(python: Interpreter, tmp_path: Path) -> None:
    good = member(tmp_path, "good.py", "ANSWER = 42\n")
    broken = member(tmp_path, "broken.py", "print 'of Python 2'\n")
    data = member(tmp_path, "data.txt", "ANSWER = 42\n")
    elsewhere = Member("share/script.py", good.source)
    made = bytecode.compiled([good, broken, data, elsewhere], python, threads=2, spare_folder=str(tmp_path))
    (only,) = made
    assert only.name == f"{good.name.rpartition('/')[0]}/__pycache__/good.{sys.implementation.cache_tag}.pyc"
    content = Path(only.source).read_bytes()
    assert content[4:8] == b"\1\0\0\0", "PEP 552: by hash, and not checked"
    names: dict[str, object] = {}
    exec(marshal.loads(content[16:]), names)
    assert names["ANSWER"] == 42


def test_a_second_time_nothing_is_compiled(python: Interpreter, tmp_path: Path) -> None:
    first = member(tmp_path, "a.py", "A = 1\n")
    calls: list[tuple[int, int]] = []
    for _ in range(2):
        bytecode.compiled(
            [first],
            python,
            threads=1,
            spare_folder=str(tmp_path),
            progress=lambda done, total: calls.append((done, total)),
        )
    assert calls == [(1, 1)]
    twin = member(tmp_path, "b.py", "A = 1\n")
    (one,), (two,) = (
        bytecode.compiled([each], python, threads=1, spare_folder=str(tmp_path)) for each in (first, twin)
    )
    assert one.source == two.source, "equal sources are compiled once"


def test_the_cache_is_pruned_at_its_limit_and_keeps_what_is_packed_now(python: Interpreter, tmp_path: Path) -> None:
    members = [member(tmp_path, f"m{number}.py", f"A = {number}\n") for number in range(6)]

    def compiled(*numbers: int, limit: int) -> list[str]:
        chosen = [members[number] for number in numbers]
        made = bytecode.compiled(chosen, python, threads=1, spare_folder=str(tmp_path), cache_limit=limit)
        return [each.source for each in made]

    old = compiled(0, 1, 2, 3, limit=1 << 20)
    for age, path in enumerate(old):
        os.utime(path, (1000 - age, 1000 - age))
    new = compiled(0, 4, limit=1)
    assert all(os.path.exists(path) for path in new)
    assert [os.path.exists(path) for path in old] == [True, True, False, False], "the older half is removed"
    assert len(compiled(1, 2, 3, 5, limit=1)) == 4, "more than half may be in use"
