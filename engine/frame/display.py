"""What a frame shows of itself in a terminal or notebook: its first rows where they are cheap, and facts of its plan.

A repr never computes on a cluster and never runs a user's function. It reads rows, in this process, where that takes at
most `MAX_BYTES` of stored bytes: the first rows of a table, or all of a small one. Otherwise it shows the columns alone
(docs/decisions/0013-rows-in-a-repr.md). Internal to `frame`.
"""

from __future__ import annotations

import html
from typing import Any

from howdah.engine.frame import compute
from howdah.engine.frame.state import FrameState
from howdah.engine.relational import relations
from howdah.engine.relational.columns import is_unresolved
from howdah.engine.relational.compiler.compile import COMPILER
from howdah.engine.relational.relations import Relation
from howdah.errors import HowdahError

ROWS = 5
"""Rows that are shown; of `head(n)` as many as pandas shows."""

MAX_BYTES = 16 << 20
"""Stored bytes that a repr may read."""


def as_text(state: FrameState, kind: str, length: int | None) -> str:
    """Return the rows as pandas prints them and a line about the plan; without cheap rows, the columns."""
    rows, why = first_rows(state)
    if rows is None:
        body = "\n".join(f"  {label}: {dtype}" for label, dtype in state.dtypes().items())
        return f"<howdah {kind}, not computed: {why}; {_facts(state, length)}>\n{body}"
    shown = rows if kind == "DataFrame" else rows.iloc[:, 0]
    return f"{shown!r}\n{_summary(state, kind, rows, length)}"


def as_html(state: FrameState, kind: str, length: int | None) -> str:
    """Return the same as HTML."""
    rows, why = first_rows(state)
    cells = "".join(f"<tr><td>{html.escape(str(c))}</td><td>{html.escape(str(d))}</td></tr>"
                    for c, d in state.dtypes().items())  # fmt: skip
    types = f"<table><tr><th>column</th><th>dtype</th></tr>{cells}</table>"
    if rows is None:
        facts = html.escape(f"not computed: {why}; {_facts(state, length)}")
        return f"<div><b>howdah {kind}</b>, {facts}{types}</div>"
    summary = html.escape(_summary(state, kind, rows, length))
    return f"<div>{rows._repr_html_()}<p>{summary}</p><details><summary>dtypes</summary>{types}</details></div>"


def first_rows(state: FrameState) -> tuple[Any, str]:
    """Return the first rows as a pandas frame, or None and what to do for rows."""
    try:
        if not _is_cheap(state):
            return None, "head().compute() for the first rows, compute() for all"
        short = state if _is_head(state.base) else state.map_base(lambda base: relations.Head(base, ROWS))
        return compute.to_pandas(short, compute.compute_rows(short, "inline")), ""
    except Exception as error:  # noqa: BLE001 a repr does not raise: the error is shown in its place
        return None, f"its rows cannot be shown: {' '.join(str(error).split()) or type(error).__name__}"


def _is_head(base: Relation) -> bool:
    while isinstance(base, relations.Project):
        base = base.source
    return isinstance(base, relations.Head) and base.n >= 0


def _is_cheap(state: FrameState) -> bool:
    """Whether the first rows take at most `MAX_BYTES` of reading in this process."""
    plan = COMPILER.optimise(state.plan(index=not state.is_range))
    nbytes = 0
    for node in plan.walk():
        if isinstance(node, relations.MapPartitions | relations.StageInput):
            return False
        if isinstance(node, relations.Persisted) and hasattr(node.held.results, "client"):
            return False
        if isinstance(node, relations.Scan):
            nbytes += node.nbytes
        if isinstance(node, relations.InMemory):
            nbytes += sum(int(part.nbytes) for part in node.parts)
    if nbytes <= MAX_BYTES:
        return True
    base = state.base
    while isinstance(base, relations.Project | relations.Head):
        base = base.source
    if not isinstance(base, relations.Scan) or base.table is None or any(is_unresolved(e) for _, e in state.columns):
        return False
    used = [name for node in plan.walk() if isinstance(node, relations.Scan) for name in node.stored()]
    return base.table.splits(used)[0].nbytes <= MAX_BYTES


def _facts(state: FrameState, length: int | None) -> str:
    try:
        n = COMPILER.partitions(state.plan(index=False))
    except HowdahError:  # a plan that cannot be computed has a repr too; `first_rows` says why
        return "no partitions" if length is None else f"{length:,} rows"
    rows = "" if length is None else f"{length:,} rows, "
    return f"{rows}{n} partition{'s' * (n != 1)}"


def _summary(state: FrameState, kind: str, rows: Any, length: int | None) -> str:
    what = "all rows" if length == len(rows) else f"the first {len(rows)} rows"
    return f"<howdah {kind}: {what} of {_facts(state, length)}; compute() for the pandas object>"
