"""Layers as bytes: arguments by item, hosts once, and what cannot be pickled is named."""

from __future__ import annotations

import pickle
import threading

import pytest

from howdah.engine.graph.encode import encode, layer_spec
from howdah.engine.protocol.layers import Layer
from howdah.errors import Unpicklable


def double(x: int, by: int = 2) -> int:
    return x * by


def test_any_run_is_a_slice_of_the_arguments() -> None:
    layer = Layer("x", double, 3, args=[(1, "a"), ([2],), (None,)], kwargs={"by": 5}, key=b"k" * 16)
    made = encode(layer)
    run = made.args[made.offsets[1] : made.offsets[3]]
    cut = made.offsets[2] - made.offsets[1]
    assert (pickle.loads(run[:cut]), pickle.loads(run[cut:])) == (([2],), (None,))
    fn, kwargs, pass_inputs = pickle.loads(made.code)
    assert (fn(4, **kwargs), pass_inputs) == (20, True)
    assert (made.spec.n, made.spec.key, made.spec.host_sets) == (3, b"k" * 16, ())


def test_what_cannot_travel_is_named() -> None:
    layer = Layer("x", double, 3, args=[(1,), ({"a": [threading.Lock()]},), (3,)], key=b"k")
    with pytest.raises(Unpicklable, match=r"the arguments of x\[1\] cannot travel: .*\['a'\]\[0\] \(a lock\)"):
        encode(layer)
    with pytest.raises(Unpicklable, match=r"keyword arguments of .*x"):
        encode(Layer("x", double, 1, kwargs={"by": threading.Lock()}, key=b"k"))


def test_hosts_travel_once() -> None:
    hosts = [("a", "b"), ("c",)] * 5000
    spec = layer_spec(Layer("x", double, 10_000, hosts=hosts, nbytes=[7] * 10_000, key=b"k"))
    assert spec.host_sets == (("a", "b"), ("c",))
    assert spec.host_index[:3] == (0, 1, 0)
