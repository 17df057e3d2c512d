"""Keys: the content hash of a function and its inputs, the same in every process and interpreter of one Python version.

Equal content gives equal keys, so equal work of two users is done once. The converse must never happen: two contents
under one key would be a silent wrong answer. So where it is unclear whether a difference matters (the order of a dict,
the chunks of an Arrow column, the class of a number), it does. Content that cannot be described has a unique key.

Functions count by name *and* code (constants, defaults, closure values included), so an edited function is another;
functions of ``__main__`` and of notebooks also by the globals that they use, as those travel with them.

A class may define ``__howdah_content__(self) -> Any``: what to hash in place of the object's attributes. A leaf of the
engine; it never raises for an odd object.
"""

from __future__ import annotations

import itertools
import marshal
import os
from collections.abc import Sequence
from itertools import chain
from typing import Any

from howdah.engine.graph import describe_code, describe_data, walk
from howdah.engine.graph.walk import Indescribable, Walk
from howdah.engine.protocol.layers import Dependency, Key, Layer

PLAIN: frozenset[type] = frozenset({int, float, str, bytes, bool, type(None), complex})

walk.KINDS.update(describe_code.KINDS)
walk.ROOTS.update(describe_data.ROOTS)
walk.FALLBACK.append(describe_data.anything)


def content_hash(obj: Any) -> Key:
    """Return 16 bytes that identify the content of `obj`.

    >>> content_hash({"a": 1}) == content_hash({"a": 1})
    True
    >>> content_hash({1, 2}) == content_hash({2, 1}), content_hash(1) == content_hash(1.0)
    (True, False)
    >>> content_hash(lambda x: x + 1) == content_hash(lambda x: x + 2)
    False
    """
    fed = Walk()
    try:
        fed.feed(obj)
    except (Indescribable, RecursionError):
        return os.urandom(16)
    return fed.digest()


_prefix = os.urandom(8)
_numbers = itertools.count()


def unique_key() -> Key:
    """Return a key used nowhere else: random bytes of this process and a number. (`os.urandom` takes 0.2 ms.)"""
    return _prefix + next(_numbers).to_bytes(8, "little")


def _forked() -> None:
    global _prefix
    _prefix = os.urandom(8)


os.register_at_fork(after_in_child=_forked)


def layer_key(layer: Layer) -> Key:
    """Return the key of a layer: the hash of its function, length, dependencies and arguments.

    Its name, preferred hosts, sizes and retries are not part of it. Impure layers get a random key.
    """
    if not layer.pure:
        return unique_key()
    fed = Walk()
    try:
        fed.write(b"L%d,%d," % (layer.n, layer.pass_inputs))
        fed.feed(layer.fn)
        for dep in layer.deps:
            fed.write(b"D" + dep.layer)
            _feed_pattern(fed, dep)
        if layer.args is not None:
            _feed_args(fed, layer.args)
        if layer.kwargs:
            for name in sorted(layer.kwargs):
                fed.write(b"K" + name.encode())
                fed.feed(layer.kwargs[name])
    except (Indescribable, RecursionError):
        return unique_key()
    return fed.digest()


def _feed_pattern(fed: Walk, dep: Dependency) -> None:
    pattern = dep.pattern
    fed.write(type(pattern).__name__.encode())
    for name in pattern.__struct_fields__:
        fed.feed(getattr(pattern, name))


def _feed_args(fed: Walk, args: Sequence[tuple[Any, ...]]) -> None:
    fed.write(b"A%d," % len(args))
    kinds = set(map(type, chain.from_iterable(args)))
    if kinds <= PLAIN and set(map(type, args)) <= {tuple}:
        # Version 2 of marshal writes values alone: no references, no interning. 0.1 us an item.
        fed.write(b"M")
        fed.write(marshal.dumps(list(args), 2))
    else:
        for item in args:
            fed.feed(item)
