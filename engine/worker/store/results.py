"""The preparation of a batch's results for the store. For slots.

Sizes are measured, and small results that a client waits for are pickled while they are in the processor's cache.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from howdah.engine.protocol.messages import INLINE_BYTES, NOT_INLINE
from howdah.engine.protocol.text import describe_error
from howdah.engine.serialization.serialize import PLAIN_TYPES, dumps, dumps_out_of_band
from howdah.engine.worker.store.sizeof import UNKNOWN_SIZE, size_of_value
from howdah.errors import Unpicklable

INLINE_BATCH_BYTES = 4 << 20
"""Bytes of results in one report, at most; the others are fetched from the store."""

TRIED_BYTES = 1 << 20
"""Bytes up to which a result of unknown type is pickled at once, to detect early that it cannot be."""

_EXACT = frozenset({"numpy", "pandas", "polars", "pyarrow"})
"""Packages whose values know their sizes and can be pickled."""


@dataclass(slots=True)
class MeasuredResults:
    """One entry per result: `sizes` in bytes, -1 for none; `lengths` of their pickles among `pieces`, or NOT_INLINE.

    `errors`: which results cannot be pickled, and why.
    """

    sizes: list[int] = field(default_factory=list)
    lengths: array[int] = field(default_factory=lambda: array("I"))
    pieces: list[bytes] = field(default_factory=list)
    errors: list[tuple[int, Unpicklable]] = field(default_factory=list)


def measure(results: Sequence[Any], failed: Collection[int], inline: bool) -> MeasuredResults:
    """Measure the results of a batch of which the items `failed` have none; `inline`: a client waits for them.

    >>> measure([1, b"x" * 100_000], (), inline=True).lengths
    array('I', [5, 4294967295])
    """
    if not inline and not failed and PLAIN_TYPES.issuperset(map(type, results)):  # the fast path for many tiny tasks
        return MeasuredResults(list(map(sys.getsizeof, results)), array("I", [NOT_INLINE]) * len(results))
    found = MeasuredResults()
    room = INLINE_BATCH_BYTES
    for at, value in enumerate(results):
        piece, size = b"", -1
        if at not in failed:
            try:
                piece, size = _measured(value, inline)
            except Unpicklable as error:
                found.errors.append((at, Unpicklable(f"the result cannot travel: {error}")))
            except BaseException as error:  # noqa: BLE001  # a user's __reduce__ may raise anything, SystemExit included
                reason = f"{type(value).__name__} cannot be pickled: {describe_error(error)}"
                found.errors.append((at, Unpicklable(f"the result cannot travel: {reason}")))
        found.sizes.append(size)
        if piece and len(piece) <= INLINE_BYTES and room >= len(piece):
            room -= len(piece)
            found.lengths.append(len(piece))
            found.pieces.append(piece)
        else:
            found.lengths.append(NOT_INLINE)
    return found


def _measured(value: Any, inline: bool) -> tuple[bytes, int]:
    """Return the pickle of `value`, if one was made, and its size in bytes."""
    if type(value) in PLAIN_TYPES:
        return dumps(value) if inline else b"", sys.getsizeof(value)
    size = size_of_value(value)
    exact = str(type(value).__module__).partition(".")[0] in _EXACT
    if size != UNKNOWN_SIZE and (not inline or size > (INLINE_BYTES if exact else TRIED_BYTES)):
        return b"", size
    try:
        data, buffers = dumps_out_of_band(value)
    except BaseException:
        if inline:
            raise
        return b"", sys.getsizeof(None)  # tasks of this worker can use it; who fetches it gets the reason
    whole = len(data) + sum([buffer.nbytes for buffer in buffers])
    size = max(size, whole)
    if not inline or whole > INLINE_BYTES:
        return b"", size
    return (dumps(value) if buffers else data), size
