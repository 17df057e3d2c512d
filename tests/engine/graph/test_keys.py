"""Keys: equal content, equal key, in every process; any difference that could matter, another key."""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import pathlib
import subprocess
import sys
import threading
import types
from dataclasses import InitVar, dataclass, field

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.engine.graph.keys import content_hash, layer_key
from howdah.engine.protocol.layers import Broadcast, Dependency, KToOne, Layer, OneToOne


def add_one(x):
    return x + 1


def compiled(source: str, name: str = "f") -> types.FunctionType:
    scope: dict[str, object] = {"__name__": "__main__"}
    exec(source, scope)
    return scope[name]


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass
class Hidden:
    given: InitVar[int]
    plain: int = 0
    kept: int = field(init=False, default=0)

    def __post_init__(self, given: int) -> None:
        self._secret = given


class Color(enum.Enum):
    RED = 1
    BLUE = 2


SCRIPT = """
import decimal, functools, pathlib
import numpy as np, pandas as pd, polars as pl, pyarrow as pa
from howdah.engine.graph.keys import content_hash
from howdah.engine.protocol.layers import KToOne
def outer(k):
    return lambda x: x + k
class Local:
    limit = 3
    def run(self): return self.limit
things = [
    {"b": {1, "x", (2, 3)}, "a": frozenset("hello world")}, outer(3), functools.partial(outer, k=2), Local,
    Local(), Local().run,
    np.arange(6).reshape(2, 3), pd.DataFrame({"a": [1, None], "b": ["x", "y"]}), pl.DataFrame({"a": [1]}),
    pa.table({"a": [1, 2]}), decimal.Decimal("1.5"), pathlib.PurePosixPath("/a"), KToOne(3), content_hash,
    str.upper, len,
]
print(" ".join(content_hash(t).hex() for t in things))
"""


def test_the_same_in_other_processes_whatever_their_hash_seed() -> None:
    seen = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1", "42")
    }
    assert len(seen) == 1
    hashes = seen.pop().split()
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0), (1, True), (0, False), ("1", 1), (b"a", "a"), ((1, 2), [1, 2]), ([1, [2]], [[1], 2]), (0.0, -0.0),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ({1}, frozenset({1})), (2**70, 2**70 + 1), ("", None), ((), []),
        (np.int64(1), np.int32(1)), (np.int64(1), 1), (np.arange(4), np.arange(4).reshape(2, 2)),
        (np.arange(4), np.arange(4.0)), (np.array(["a"], object), np.array(["a"])),
        (pd.Series([1]), pd.Series([1], name="x")), (pd.Series([1]), pd.Series([1], index=[5])),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})), (pl.Series([1]), pl.Series([2])),
        (pa.array([1]), pa.array([1], pa.int8())), (pa.table({"a": [1]}), pa.table({"a": [2]})),
        (Point(1), Point(2)), (Point(1), (1, 0)), (Hidden(1), Hidden(2)), (Color.RED, Color.BLUE), (len, abs),
        ("".join, "x".join), (str.upper, str.lower), (int, float), (range(3), range(4)),
        (functools.partial(add_one, 1), functools.partial(add_one, 2)), (pl.col("a") + 1, pl.col("a") + 2),
        (datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1)), (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
        (pathlib.PurePosixPath("a"), "a"),
    ],
)  # fmt: skip
def test_different_content_has_different_keys(one: object, other: object) -> None:
    assert content_hash(one) != content_hash(other)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(values, values)
def test_equal_if_and_only_if_they_look_equal(one: object, other: object) -> None:
    assert (content_hash(one) == content_hash(other)) == (repr(one) == repr(other))


def test_an_edited_function_is_another() -> None:
    first = compiled("def f(x):\n    return x + 1")
    assert content_hash(first) == content_hash(compiled("def f(x):\n\n    return x + 1"))
    for edited in (
        "def f(x):\n    return x + 2",
        "def f(x):\n    return x - 1",
        "def f(x, y=1):\n    return x + 1",
        "def f(x):\n    return abs(x) + 1",
        "def f(x):\n    def g():\n        return 2\n    return x + 1",
    ):
        assert content_hash(first) != content_hash(compiled(edited)), edited
    assert content_hash(compiled("def f(x=1): return x")) != content_hash(compiled("def f(x=2): return x"))


def test_what_travels_with_a_function_counts() -> None:
    def outer(k):
        return lambda x: x + k

    assert content_hash(outer(1)) == content_hash(outer(1))
    assert content_hash(outer(1)) != content_hash(outer(2))
    helper = "def g(x): return x * {}\ndef f(x): return g(x)"
    assert content_hash(compiled(helper.format(2))) != content_hash(compiled(helper.format(3)))
    constant = "K = {}\ndef f(x): return x * K"
    assert content_hash(compiled(constant.format(2))) != content_hash(compiled(constant.format(3)))


def test_recursion_and_cycles_end() -> None:
    loop: list[object] = [1]
    loop.append(loop)
    other: list[object] = [2]
    other.append(other)
    assert content_hash(loop) == content_hash(loop) != content_hash(other)
    fact = compiled("def f(n): return n * f(n - 1) if n else 1")
    assert content_hash(fact) == content_hash(fact)


def test_what_cannot_be_described_is_never_shared() -> None:
    lock = threading.Lock()
    assert content_hash(lock) != content_hash(lock)
    assert content_hash([1, lock]) != content_hash([1, lock])


def test_the_content_that_an_object_names_itself() -> None:
    class Named:
        def __init__(self, key: bytes) -> None:
            self.key, self.noise = key, object()

        def __howdah_content__(self) -> bytes:
            return self.key

    assert content_hash(Named(b"a")) == content_hash(Named(b"a")) != content_hash(Named(b"b"))


def test_an_array_is_its_content_not_its_memory() -> None:
    base = np.arange(20)
    assert content_hash(base[::2]) == content_hash(base[::2].copy())
    assert content_hash(np.asfortranarray(base.reshape(4, 5))) == content_hash(base.reshape(4, 5))
    assert content_hash(pa.array([1, 2, 3])[1:]) == content_hash(pa.array([2, 3]))


def test_layer_keys() -> None:
    def key(**changes: object) -> bytes:
        given = {"name": "n", "fn": add_one, "n": 2, "args": [(1,), (2,)]}
        return layer_key(Layer(**{**given, **changes}))

    assert key() == key() == key(name="other", retries=3, hosts=[("a",), ()], nbytes=[1, 2])
    assert key(kwargs={"a": 1, "b": 2}) == key(kwargs={"b": 2, "a": 1})
    different = [
        key(), key(fn=abs), key(args=[(1,), (3,)]), key(args=[(1,), (2.0,)]), key(args=None), key(kwargs={"a": 1}),
        key(pass_inputs=False), key(n=1, args=[(1,)]), key(args=[(1,), (np.int64(2),)]),
        key(deps=(Dependency(b"x", OneToOne()),)), key(deps=(Dependency(b"y", OneToOne()),)),
        key(deps=(Dependency(b"x", Broadcast()),)), key(deps=(Dependency(b"x", KToOne(2)),)),
        key(deps=(Dependency(b"x", KToOne(3)),)),
    ]  # fmt: skip
    assert len(set(different)) == len(different)
    assert key(pure=False) != key(pure=False)
