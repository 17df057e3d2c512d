"""The store of layers' frames: arguments by range, in one part or several, and what is refused."""

from __future__ import annotations

import itertools
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.engine.protocol.events import GraphSubmitted, LayerSpec
from howdah.engine.protocol.layers import Dependency, OneToOne, TaskRange
from howdah.engine.scheduler.server.layer_store import SMALL, LayerStore
from howdah.errors import HowdahError

KEY = b"k" * 16


def frames(arguments: list[bytes], code: bytes = b"code") -> list[memoryview]:
    """A layer's frames in `Submit`."""
    return [memoryview(code), *part(arguments)]


def part(arguments: list[bytes]) -> list[memoryview]:
    ends = array("Q", [0])
    for one in arguments:
        ends.append(ends[-1] + len(one))
    return [memoryview(ends.tobytes()), memoryview(b"".join(arguments))]


def opened(offsets: object, blob: object) -> list[bytes]:
    """The arguments in what `slice` returns."""
    ends = memoryview(offsets).cast("B").cast("Q")  # type: ignore[arg-type]
    return [bytes(blob)[a - ends[0] : b - ends[0]] for a, b in itertools.pairwise(ends)]  # type: ignore[call-overload]


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=12), st.data())
def test_every_range_has_its_arguments_in_however_many_parts_they_came(
    values: list[bytes], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(values)), max_size=4)) | {len(values)})
    store = LayerStore()
    first = cuts[0]
    store.add([LayerSpec(KEY, "layer", len(values), arrived=first)], frames(values[:first]))
    for start, stop in itertools.pairwise(cuts):
        assert store.extend(KEY, start, part(values[start:stop])) == stop
    assert store.get(KEY).arrived == len(values)
    for start in range(len(values)):
        for stop in range(start + 1, len(values) + 1):
            assert opened(*store.slice(TaskRange(KEY, start, stop))) == values[start:stop]
    store.forget(KEY)
    assert (store.nbytes, KEY in store) == (0, False)


def test_a_layer_that_is_stored_is_not_stored_again() -> None:
    store = LayerStore()
    spec = LayerSpec(KEY, "layer", 2)
    assert store.add([spec], frames([b"a", b"b"])) == [KEY]
    before = store.nbytes
    assert store.add([spec], frames([b"c", b"d"])) == []
    assert store.nbytes == before == 4 + 3 * 8 + 2
    assert opened(*store.slice(TaskRange(KEY, 0, 2))) == [b"a", b"b"]
    assert store.extend(KEY, 0, part([b"c"])) == 0, "a part that is here already"


def test_small_frames_are_copied_and_large_ones_are_not() -> None:
    store = LayerStore()
    large = memoryview(bytes(SMALL + 1))
    store.add([LayerSpec(KEY, "layer", 1)], [large, memoryview(b""), memoryview(b"")])
    assert store.get(KEY).code is large
    assert isinstance(store.get(KEY).arguments, bytes)
    assert store.slice(TaskRange(KEY, 0, 1)) == (b"", b"")


def test_frames_that_do_not_fit_their_layer_are_refused() -> None:
    store = LayerStore()
    spec = LayerSpec(KEY, "layer", 2)
    with pytest.raises(HowdahError, match="1 layers came with 2 frames, not 3 each"):
        store.add([spec], frames([b"a", b"b"])[:2])
    with pytest.raises(HowdahError, match="layer layer: 16 bytes of offsets for 2 items"):
        store.add([spec], frames([b"a"]))
    with pytest.raises(HowdahError, match="arguments end beyond their frame"):
        store.add([spec], [*frames([b"a", b"b"])[:2], memoryview(b"a")])
    assert KEY not in store
    store.add([LayerSpec(KEY, "layer", 2, arrived=1)], frames([b"a"]))
    with pytest.raises(HowdahError, match="its arguments do not fit it"):
        store.extend(KEY, 1, part([b"b", b"c"]))


def test_a_definition_has_the_lengths_of_its_dependencies() -> None:
    store, other = LayerStore(), b"o" * 16
    store.add([LayerSpec(KEY, "first", 5)], [memoryview(b"")] * 3)
    dep = Dependency(KEY, OneToOne())
    store.add([LayerSpec(other, "second", 5, (dep,))], [memoryview(b"")] * 3)
    assert store.get(other).define.dep_ns == (5,)
    ranges = (TaskRange(other, 0, 2), TaskRange(b"unknown" + bytes(9), 0, 1))
    assert store.request("me", ranges) == GraphSubmitted("me", (LayerSpec(other, "second", 5, (dep,)),), ranges)
    assert other in store.inline
    assert (store.name(other), store.name(b"\xff" * 16)) == ("second", "ff" * 16)
