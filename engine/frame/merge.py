"""Joins, in pandas' shape: which columns, which names, which dtypes. Internal to `engine.frame`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from howdah.engine.frame.state import FrameState, Label, numbered
from howdah.engine.relational import relations
from howdah.engine.relational.casts import widen_if_na
from howdah.engine.relational.columns import Col, Column
from howdah.engine.relational.dtypes import DType, How, key_type
from howdah.errors import NotSupported, SchemaError

HOW: tuple[How, ...] = get_args(How)


def merge(
    left: FrameState, right: FrameState, how: Any, on: Any, left_on: Any, right_on: Any, suffixes: Sequence[str | None]
) -> FrameState:
    """Return the join of two frames; see `DataFrame.merge`."""
    if how not in HOW:
        raise NotSupported(f"merge(how={how!r}) is not there yet: there are {', '.join(HOW)}")
    left, right = _with_named_levels(left, on, left_on), _with_named_levels(right, on, right_on)
    mine, theirs = _keys(left, right, on, left_on, right_on)
    a, b = left.projected(), right.projected()
    _check_keys(left, right, mine, theirs)
    take = _columns(left, right, mine, theirs, how, tuple(suffixes))
    plans = a.plan(index=False), b.plan(index=False)
    node = relations.Join(*plans, tuple(mine), tuple(theirs), how, tuple(take))
    base = numbered(relations.Project(node, tuple((name, widen_if_na(Col(name, d), None)) for name, _, _, d in take)))
    columns: tuple[tuple[Label, Column], ...] = tuple((name, Col(name, base.schema[name])) for name, *_ in take)
    return FrameState(base, columns)


def _with_named_levels(frame: FrameState, on: Any, side_on: Any) -> FrameState:
    """Return the frame with index levels that are named as keys made columns, as pandas does."""
    keys = on if on is not None else side_on
    labels = [keys] if isinstance(keys, str) else list(keys or [])
    levels = {level.label for level in frame.index}
    if any(label in levels and label not in frame.labels() for label in labels):
        return frame.reset_index()
    return frame


def _keys(left: FrameState, right: FrameState, on: Any, left_on: Any, right_on: Any) -> tuple[list[str], list[str]]:
    if on is None and left_on is None and right_on is None:
        on = [c for c in left.labels() if c in right.labels()]
        if not on:
            raise SchemaError("merge: the frames have no column in common: give on=, or left_on= and right_on=")
    if on is not None:
        if left_on is not None or right_on is not None:
            raise SchemaError("merge: give on=, or left_on= and right_on=, not both")
        left_on = right_on = on
    if left_on is None or right_on is None:
        raise SchemaError("merge: give both left_on= and right_on=")
    mine, theirs = ([k] if isinstance(k, str) else list(k) for k in (left_on, right_on))
    if len(mine) != len(theirs) or not mine:
        raise SchemaError(f"merge: {len(mine)} keys on the left and {len(theirs)} on the right")
    for frame, keys, side in ((left, mine, "left"), (right, theirs, "right")):
        for key in keys:
            frame.require(key, f"merge, {side} side")
    return mine, theirs


def _check_keys(left: FrameState, right: FrameState, mine: list[str], theirs: list[str]) -> None:
    for a, b in zip(mine, theirs):
        one, other = left.column(a).dtype, right.column(b).dtype
        same = one.kind == other.kind and one.tz == other.tz
        if not same and not (one.is_number and other.is_number):
            raise SchemaError(
                f"merge: the left key {a!r} is {one}, the right key {b!r} is {other}: .astype one of them"
                + (f"({one.pandas!r}): the zone of pandas' result depends on the rows" if one.tz and other.tz else "")
            )
        if one.kind in ("anybool", "none", "bytes", "time"):
            raise NotSupported(f"merge: keys of {one} are not there yet: use .fillna(...).astype(...) first")


Take = list[tuple[str, str, str, DType]]
"""Per column of the result: its name, side, source, and type; integers may be nullable (see `casts.widen_if_na`)."""


def _columns(left: FrameState, right: FrameState, mine: list[str], theirs: list[str], how: How,
             suffixes: tuple[str | None, ...]) -> Take:  # fmt: skip
    shared = {a for a, b in zip(mine, theirs) if a == b}
    names = {"left": _labels(left), "right": [c for c in _labels(right) if c not in shared]}
    both = set(names["left"]) & set(names["right"])
    take: Take = []
    for side, frame in (("left", left), ("right", right)):
        for label in names[side]:
            suffix = suffixes[0 if side == "left" else 1] or ""
            name = label + suffix if label in both else label
            have = frame.column(label).dtype
            if side == "left" and label in shared:
                other = right.column(label).dtype
                take.append((name, "key", label, key_type(have, other, how)))
                continue
            loses = how in {"left": ("right", "outer"), "right": ("left", "outer")}[side]
            take.append((name, side, label, _nullable(have) if loses else have))
    found = [name for name, *_ in take]
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise SchemaError(
            f"merge: suffixes {suffixes!r} give two columns {twice[0]!r}: choose other suffixes, or rename"
        )
    return take


def _labels(frame: FrameState) -> list[str]:
    for label in frame.labels():
        if not isinstance(label, str):
            raise NotSupported(f"merge: the column label {label!r} is not text: rename it")
    return [str(label) for label in frame.labels()]


def _nullable(have: DType) -> DType:
    """Return the type of a column some of whose rows may have no partner."""
    return have.as_nullable("nan" if have.pandas == "object" or have.kind == "bool" else None)
