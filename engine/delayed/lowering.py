"""Lowering: from lazy tasks to layers. The calls of one function at one depth become one layer, however many they are.

A tree over 16,384 leaves is fifteen layers, and where the dependencies are regular (one to one, k to one, a window) the
layer has a pattern of a few bytes; others are a free layer. Linear in the number of calls. Called by `compute` and the
client.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from operator import is_
from typing import Any

from howdah.engine.delayed.task import (
    LazyTask,
    annotations_of,
    args_of,
    call_of,
    deps_of,
    fn_of,
    is_nested,
    kwargs_of,
    links_of,
    name_of,
    persisted_of,
    token_of,
)
from howdah.engine.graph.adapters import KeywordCall, StarCall
from howdah.engine.graph.annotations import Annotations
from howdah.engine.graph.graph import Graph, PersistedLayer
from howdah.engine.graph.inputs import Input, rebuilt
from howdah.engine.protocol.layers import Dependency, Free, KToOne, Layer, OneToOne, Pattern, Window

BARE, ALL, LIST, MIXED = "bare", "all", "list", "mixed"
"""Where the inputs of a call stand: nowhere; the first argument or all of them; in one list; anywhere else."""


GROUP_STRIDE = 1 << 40
"""A call's place is the number of its group times this, plus its item there: one int, as Python's garbage collector
visits every tuple and no int."""


class CallGroup:
    """Calls that become one layer.

    `base` is the place of its first item; `inputs` are the places of all calls' inputs, one call after the other.
    """

    __slots__ = ("base", "calls", "form", "inputs", "key", "level", "n", "name")

    def __init__(self, base: int, level: int, form: str, name: str) -> None:
        self.base, self.level, self.form, self.name = base, level, form, name
        self.calls: list[LazyTask] = []
        self.inputs: list[int] = []
        self.key = b""
        self.n = 0


class CallGroups:
    """All calls that are needed, each in a group. Calls that one call uses have neighbouring items."""

    def __init__(self, targets: Sequence[LazyTask]) -> None:
        self.groups: list[CallGroup] = []
        self.places: dict[int, int] = {}
        """By the call's id."""
        self.persisted: dict[bytes, PersistedLayer] = {}
        self._by_site: dict[Any, CallGroup] = {}
        self._walk(targets)

    def of(self, call: LazyTask) -> tuple[CallGroup, int]:
        """Return the group of a call, and its item there."""
        number, item = divmod(self.places[id(call)], GROUP_STRIDE)
        return self.groups[number], item

    def _walk(self, targets: Sequence[LazyTask]) -> None:
        places, by_site = self.places, self._by_site
        roots = set(map(id, targets))
        same: dict[bytes, int] = {}  # places of pure calls, by token
        opened: set[int] = set()
        stack: list[LazyTask] = list(reversed(targets))
        while stack:
            call = stack.pop()
            mine = id(call)
            if mine in places:
                continue
            persisted, deps = links_of(call)
            if persisted is not None:
                self._add_persisted(call)
                continue
            if deps and mine not in opened:
                opened.add(mine)
                pending = [dep for dep in deps if id(dep) not in places]
                if pending:
                    stack.append(call)
                    pending.reverse()
                    stack += pending
                    continue
            args, level, fn, name, annotations, pure = call_of(call)
            if pure:
                token = token_of(call)
                if token in same:  # the same call, made twice
                    places[mine] = same[token]
                    continue
            if not deps:
                form = MIXED if kwargs_of(call) else BARE
            elif deps is args:
                form = ALL
            else:
                form = _form(call)
            site = (level, id(fn), form, mine in roots, name, annotations)
            group = by_site.get(site)
            if group is None:
                group = by_site[site] = self._group(level, form, name)
            group.calls.append(call)
            if deps:
                group.inputs += [places[id(dep)] for dep in deps]
            places[mine] = place = group.base + group.n
            group.n += 1
            if pure:
                same[token] = place

    def _add_persisted(self, call: LazyTask) -> None:
        persisted = persisted_of(call)
        assert persisted is not None
        layer, item = persisted
        group = self._by_site.get(layer.layer)
        if group is None:
            self.persisted[layer.layer] = layer
            group = self._by_site[layer.layer] = self._group(-1, "persisted", name_of(call))
            group.key, group.n = layer.layer, layer.n
        elif hasattr(layer.results, "merged"):
            self.persisted[layer.layer] = replace(
                layer, results=layer.results.merged(self.persisted[layer.layer].results)
            )
        self.places[id(call)] = group.base + item

    def _group(self, level: int, form: str, name: str) -> CallGroup:
        group = CallGroup(len(self.groups) * GROUP_STRIDE, level, form, name)
        self.groups.append(group)
        return group


def lower(targets: Sequence[LazyTask]) -> tuple[Graph, list[tuple[bytes, int]]]:
    """Return a graph that computes `targets`, and the layer and item of each.

    The targets are in layers of their own, so that persisting them keeps nothing else.

    Examples
    --------
    >>> from howdah.engine.delayed.delayed import delayed
    >>> leaves = [delayed(abs)(-i) for i in range(4)]
    >>> graph, places = lower([delayed(sum)(leaves)])
    >>> graph, places[0][1]
    (<Graph of 2 layers: abs[4], sum[1]>, 0)
    """
    plan = CallGroups(targets)
    graph = Graph(persisted=plan.persisted)
    for group in sorted(plan.groups, key=_level):
        if group.calls:
            _add(graph, group, plan)
    return graph, [(group.key, item) for group, item in map(plan.of, targets)]


def _level(group: CallGroup) -> int:
    return group.level


def _form(call: LazyTask) -> str:
    deps, args = deps_of(call), args_of(call)
    if kwargs_of(call):
        return MIXED
    if not deps:
        return BARE
    if len(deps) == len(args) and not is_nested(call):
        return ALL
    if len(deps) == 1 and args[0] is deps[0]:
        return ALL
    if len(args) == 1 and type(args[0]) is list and len(args[0]) == len(deps) and all(map(is_, args[0], deps)):
        return LIST
    return MIXED


def _add(graph: Graph, group: CallGroup, plan: CallGroups) -> None:
    fn = fn_of(group.calls[0])
    n, form = group.n, group.form
    pass_inputs = True
    args: list[tuple[Any, ...]] | None = None
    deps: tuple[Dependency, ...] = ()
    if form in (ALL, LIST):
        lengths = list(map(len, map(deps_of, group.calls)))
        source, flat = _one_source(group, plan)
        if source is None:
            form = MIXED
        else:
            deps = (Dependency(source.key, _pattern(flat, lengths, n, source.n)),)
            single = type(deps[0].pattern) is OneToOne
            if form == ALL:
                rests = [args[k:] for args, k in zip(map(args_of, group.calls), lengths)]
                args = rests if any(rests) else None
                fn = fn if single else StarCall(fn)
            elif single:  # lists of one
                deps = (Dependency(source.key, KToOne(1)),)
    if form == BARE:
        args = list(map(args_of, group.calls))
    elif form == MIXED:
        pass_inputs = False
        deps, args = _mixed(group, plan)
        if any(map(kwargs_of, group.calls)):
            fn = KeywordCall(fn)
    hashed = hashlib.blake2b(b"".join(map(token_of, group.calls)), digest_size=16)
    for dep in deps:
        hashed.update(dep.layer)
    annotations = annotations_of(group.calls[0]) or Annotations()
    group.key = graph.add(
        Layer(
            group.name, fn, n, deps=deps, args=args, pass_inputs=pass_inputs, key=hashed.digest(),
            retries=annotations.retries or 0, annotations=annotations.layer_fields(),
        )
    )  # fmt: skip


def _one_source(group: CallGroup, plan: CallGroups) -> tuple[CallGroup | None, list[int]]:
    """Return the group that all inputs come from, if it is one, and their items, in order."""
    flat = group.inputs
    source = plan.groups[flat[0] // GROUP_STRIDE]
    base = source.base
    if min(flat) < base or max(flat) >= base + source.n:
        return None, []
    return source, [place - base for place in flat] if base else flat


def _pattern(flat: list[int], lengths: list[int], n: int, n_source: int) -> Pattern:
    k = lengths[0]
    if len(flat) == n_source and k * (n - 1) < n_source <= k * n and flat == list(range(n_source)):
        if k == 1:
            return OneToOne()
        if lengths[:-1] == [k] * (n - 1) and lengths[-1] == n_source - k * (n - 1):
            return KToOne(k)
    if n == n_source and n > 2 and k > 1 and len(flat) == k * n and lengths == [k] * n:
        before = -flat[0] % n
        if before < k:
            around = [i % n for i in range(-before, n + k - before)]
            if all(flat[j::k] == around[j : j + n] for j in range(k)):
                return Window(before, k - 1 - before, wrap=True)
    return _free(flat, lengths)


def _free(flat: list[int], lengths: list[int]) -> Pattern:
    from array import array
    from itertools import accumulate

    return Free(array("I", [0, *accumulate(lengths)]).tobytes(), array("I", flat).tobytes())


def _mixed(group: CallGroup, plan: CallGroups) -> tuple[tuple[Dependency, ...], list[tuple[Any, ...]]]:
    """Return a dependency with free adjacency for each source, and arguments with placeholders for inputs."""
    numbers: dict[int, int] = {}
    sources: list[CallGroup] = []
    flats: list[list[int]] = []
    lengths: list[list[int]] = []
    args: list[tuple[Any, ...]] = []
    with_kwargs = any(map(kwargs_of, group.calls))
    for at, call in enumerate(group.calls):
        inputs: dict[int, Input] = {}
        deps, literal, extra = deps_of(call), args_of(call), kwargs_of(call)
        for dep in deps:
            if id(dep) in inputs:
                continue
            source, item = plan.of(dep)
            number = numbers.get(id(source))
            if number is None:
                number = numbers[id(source)] = len(sources)
                sources.append(source)
                flats.append([])
                lengths.append([0] * group.n)
            inputs[id(dep)] = Input(number, lengths[number][at])
            flats[number].append(item)
            lengths[number][at] += 1
        if is_nested(call) or extra:
            filled, kwargs = rebuilt((literal, extra), partial(_input, inputs), type(call))
        else:
            filled = tuple([inputs.get(id(a), a) for a in literal])
            kwargs = {}
        args.append((filled, kwargs) if with_kwargs else filled)
    return tuple(Dependency(s.key, _free(f, c)) for s, f, c in zip(sources, flats, lengths)), args


def _input(inputs: dict[int, Input], call: LazyTask) -> Input:
    return inputs[id(call)]
