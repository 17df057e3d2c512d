"""From `Delayed` objects to layers: the calls of one function at one depth become one layer, however many they are.

A tree over 16,384 leaves is fifteen layers, and where the pattern of who needs whom is regular (one to one, k to one)
the layer says so in a few bytes. What is irregular is a free layer. Linear in the number of calls. For
`engine/collection.py` and the client.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from howdah.engine.delayed.delayed import Delayed
from howdah.engine.graph.adapters import KeywordCall, StarCall
from howdah.engine.graph.annotations import Annotations
from howdah.engine.graph.graph import Graph, PersistedLayer
from howdah.engine.graph.inputs import Input, rebuilt
from howdah.engine.protocol.layers import Dependency, KToOne, Layer, OneToOne, Pattern, Window

BARE, ALL, LIST, MIXED = "bare", "all", "list", "mixed"
"""How a call gets its inputs: none; its first argument or all of them; one list of them; anything else."""


PLACE = 1 << 40
"""A call's place is the number of its group times this, plus its item there: one int, for Python's collector looks at
every tuple and at no int."""


class CallGroup:
    """Calls that become one layer. `base` is the place of its first item; `inputs` are those of all that the calls
    need, one call's after the other's."""

    __slots__ = ("base", "calls", "form", "inputs", "key", "level", "n", "name")

    def __init__(self, base: int, level: int, form: str, name: str) -> None:
        self.base, self.level, self.form, self.name = base, level, form, name
        self.calls: list[Delayed] = []
        self.inputs: list[int] = []
        self.key = b""
        self.n = 0


class CallGroups:
    """All calls that are needed, each in a group; who is used together stands together."""

    def __init__(self, wanted: Sequence[Delayed]) -> None:
        self.groups: list[CallGroup] = []
        self.places: dict[int, int] = {}
        """By the call's id."""
        self.held: dict[bytes, PersistedLayer] = {}
        self._by_name: dict[Any, CallGroup] = {}
        self._same: dict[bytes, int] = {}
        self._roots = set(map(id, wanted))
        self._walk(wanted)

    def of(self, call: Delayed) -> tuple[CallGroup, int]:
        """Its group, and its item there."""
        number, item = divmod(self.places[id(call)], PLACE)
        return self.groups[number], item

    def _walk(self, wanted: Sequence[Delayed]) -> None:
        places = self.places
        opened: set[int] = set()
        stack: list[Delayed] = list(reversed(wanted))
        while stack:
            call = stack.pop()
            mine = id(call)
            if mine in places:
                continue
            if call._held is not None:
                self._add_held(call)
                continue
            deps = call._deps
            if deps and mine not in opened:
                opened.add(mine)
                pending = [dep for dep in deps if id(dep) not in places]
                if pending:
                    stack.append(call)
                    pending.reverse()
                    stack += pending
                    continue
            if not call._pure:
                places[mine] = self._add(call)
            elif (token := call._token) in self._same:  # the same pure call, made twice
                places[mine] = self._same[token]
            else:
                places[mine] = self._same[token] = self._add(call)

    def _add(self, call: Delayed) -> int:
        places, deps = self.places, call._deps
        form = ALL if deps and deps is call._args else _form(call)
        name = (call._level, id(call._fn), form, id(call) in self._roots, call._name, call._notes)
        group = self._by_name.get(name)
        if group is None:
            group = self._by_name[name] = self._group(call._level, form, call._name)
        group.calls.append(call)
        group.inputs += [places[id(dep)] for dep in deps]
        group.n += 1
        return group.base + group.n - 1

    def _add_held(self, call: Delayed) -> None:
        keep, item = call._held
        group = self._by_name.get(keep.layer)
        if group is None:
            self.held[keep.layer] = keep
            group = self._by_name[keep.layer] = self._group(-1, "held", call._name)
            group.key, group.n = keep.layer, keep.n
        elif hasattr(keep.results, "merged"):
            self.held[keep.layer] = replace(keep, results=keep.results.merged(self.held[keep.layer].results))
        self.places[id(call)] = group.base + item

    def _group(self, level: int, form: str, name: str) -> CallGroup:
        group = CallGroup(len(self.groups) * PLACE, level, form, name)
        self.groups.append(group)
        return group


def lower(wanted: Sequence[Delayed]) -> tuple[Graph, list[tuple[bytes, int]]]:
    """A graph that computes `wanted`, and for each of them its layer and item.

    What is wanted stands in layers of its own, so that keeping it keeps nothing else.

    Examples
    --------
    >>> from howdah.engine.delayed.delayed import delayed
    >>> leaves = [delayed(abs)(-i) for i in range(4)]
    >>> graph, places = lowered([delayed(sum)(leaves)])
    >>> graph, places[0][1]
    (<Graph of 2 layers: abs[4], sum[1]>, 0)
    """
    plan = CallGroups(wanted)
    graph = Graph(persisted=plan.held)
    for group in sorted(plan.groups, key=_level):
        if group.calls:
            _add(graph, group, plan)
    return graph, [(group.key, item) for group, item in map(plan.of, wanted)]


def _level(group: CallGroup) -> int:
    return group.level


def _form(call: Delayed) -> str:
    deps = len(call._deps)
    if call._kwargs:
        return MIXED
    if not deps:
        return BARE
    args = call._args
    if deps == len(args) and not call._nested:
        return ALL
    if deps == 1 and type(args[0]) is Delayed:
        return ALL
    if len(args) == 1 and type(args[0]) is list and len(args[0]) == deps and set(map(type, args[0])) == {Delayed}:
        return LIST
    return MIXED


def _add(graph: Graph, group: CallGroup, plan: CallGroups) -> None:
    fn = group.calls[0]._fn
    n, form = group.n, group.form
    pass_inputs = True
    args: list[tuple[Any, ...]] | None = None
    deps: tuple[Dependency, ...] = ()
    if form in (ALL, LIST):
        lengths = [len(call._deps) for call in group.calls]
        source, flat = _one_source(group, plan)
        if source is None:
            form = MIXED
        else:
            deps = (Dependency(source.key, _pattern(flat, lengths, n, source.n)),)
            single = type(deps[0].pattern) is OneToOne
            if form == ALL:
                rests = [call._args[k:] for call, k in zip(group.calls, lengths)]
                args = rests if any(rests) else None
                fn = fn if single else StarCall(fn)
            elif single:  # lists of one
                deps = (Dependency(source.key, KToOne(1)),)
    if form == BARE:
        args = [call._args for call in group.calls]
    elif form == MIXED:
        pass_inputs = False
        deps, args = _mixed(group, plan)
        if any(call._kwargs for call in group.calls):
            fn = KeywordCall(fn)
    hashed = hashlib.blake2b(b"".join([call._token for call in group.calls]), digest_size=16)
    for dep in deps:
        hashed.update(dep.layer)
    notes = group.calls[0]._notes or Annotations()
    group.key = graph.add(
        Layer(
            group.name, fn, n, deps=deps, args=args, pass_inputs=pass_inputs, key=hashed.digest(),
            retries=notes.retries or 0, annotations=notes.layer_fields(),
        )
    )  # fmt: skip


def _one_source(group: CallGroup, plan: CallGroups) -> tuple[CallGroup | None, list[int]]:
    """The layer that all inputs come from, if it is one; and their items, in order."""
    flat = group.inputs
    source = plan.groups[flat[0] // PLACE]
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

    from howdah.engine.protocol.layers import Free

    return Free(array("I", [0, *accumulate(lengths)]).tobytes(), array("I", flat).tobytes())


def _mixed(group: CallGroup, plan: CallGroups) -> tuple[tuple[Dependency, ...], list[tuple[Any, ...]]]:
    """Placeholders where inputs go, and per layer that inputs come from its free adjacency."""
    numbers: dict[int, int] = {}
    sources: list[CallGroup] = []
    flats: list[list[int]] = []
    lengths: list[list[int]] = []
    args: list[tuple[Any, ...]] = []
    with_kwargs = any(call._kwargs for call in group.calls)
    for at, call in enumerate(group.calls):
        inputs: dict[int, Input] = {}
        for dep in call._deps:
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
        if call._nested or call._kwargs:
            filled, kwargs = rebuilt((call._args, call._kwargs), partial(_input, inputs), Delayed)
        else:
            filled = tuple([inputs[id(a)] if type(a) is Delayed else a for a in call._args])
            kwargs = {}
        args.append((filled, kwargs) if with_kwargs else filled)
    return tuple(Dependency(s.key, _free(f, c)) for s, f, c in zip(sources, flats, lengths)), args


def _input(inputs: dict[int, Input], call: Delayed) -> Input:
    return inputs[id(call)]
