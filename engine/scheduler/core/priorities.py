"""The order in which the layers of one graph run. A pure function, called by `submission`."""

from __future__ import annotations

from howdah.engine.protocol.events import LayerSpec
from howdah.engine.protocol.layers import Key, TaskRange


def depth_first(layers: tuple[LayerSpec, ...], requested: tuple[TaskRange, ...]) -> dict[Key, int]:
    """Return the depth of each layer, 0 for those left out.

    A layer is deeper than what it needs, and the first requested subtree is deeper than the next.

    Running the deepest ready layer first finishes one subtree before it begins another.

    >>> from howdah.engine.protocol.layers import Dependency, OneToOne
    >>> one = lambda *keys: tuple(Dependency(k, OneToOne()) for k in keys)
    >>> needs = {b"a": [], b"b": [], b"c": [b"a"], b"d": [b"b"]}
    >>> specs = tuple(LayerSpec(key, "", 1, one(*below)) for key, below in needs.items())
    >>> depth_first(specs, (TaskRange(b"c", 0, 1), TaskRange(b"d", 0, 1)))
    {b'b': 0, b'd': 1, b'a': 2, b'c': 3}
    """
    if len(layers) == 1:
        return {}
    below = {spec.key: spec.deps for spec in layers}
    depths: dict[Key, int] = {}
    open_: set[Key] = set()
    count = 0
    roots = [*reversed([task_range.layer for task_range in requested]), *[spec.key for spec in layers]]
    for root in roots:
        stack = [root]
        while stack:
            key = stack[-1]
            if key in depths or key not in below:
                stack.pop()
            elif key in open_:
                stack.pop()
                depths[key] = count
                count += 1
            else:
                open_.add(key)
                # the last dependency first, so that the first is deepest
                stack.extend([dep.layer for dep in below[key] if dep.layer not in depths])
    return depths
