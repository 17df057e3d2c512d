"""Depth first: a layer is deeper than what it needs, and one requested subtree ends before the next begins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from howdah.engine.protocol.events import LayerSpec
from howdah.engine.protocol.layers import Dependency, OneToOne, TaskRange
from howdah.engine.scheduler.core.priorities import depth_first


@given(st.lists(st.sets(st.integers(0, 30), max_size=3), min_size=2, max_size=30))
def test_a_layer_is_deeper_than_what_it_needs(needs: list[set[int]]) -> None:
    below = [sorted({n % i for n in found} if i else ()) for i, found in enumerate(needs)]
    keys = [bytes([i]) for i in range(len(below))]
    specs = tuple(
        LayerSpec(keys[i], "", 1, tuple(Dependency(keys[j], OneToOne()) for j in found))
        for i, found in enumerate(below)
    )
    depths = depth_first(specs, (TaskRange(keys[-1], 0, 1),))
    assert sorted(depths.values()) == list(range(len(keys)))
    for i, found in enumerate(below):
        assert all(depths[keys[j]] < depths[keys[i]] for j in found)


def test_two_subtrees_are_not_interleaved() -> None:
    chain = {b"a": [], b"b": [b"a"], b"c": [], b"d": [b"c"]}
    specs = tuple(LayerSpec(k, "", 1, tuple(Dependency(d, OneToOne()) for d in ds)) for k, ds in chain.items())
    depths = depth_first(specs, (TaskRange(b"b", 0, 1), TaskRange(b"d", 0, 1)))
    first, second = {depths[b"a"], depths[b"b"]}, {depths[b"c"], depths[b"d"]}
    assert min(first) > max(second)
