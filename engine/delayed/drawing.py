"""Graphs as pictures: `Delayed.visualize` and `howdah.visualize`, drawn as SVG by nothing but this file.

A small graph is drawn call by call, a large one layer by layer ("inc x 10,000"), which is also how it runs.
"""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from howdah.engine.graph.annotations import Annotations
from howdah.errors import InputError, bad_value

MOST_CALLS = 100
"""Calls up to which each is drawn for itself."""

_ROW, _HEIGHT, _GAP, _LETTER, _EDGE = 62, 26, 14, 7.2, 12


@dataclass
class Box:
    """A call, a layer, or data. `needs` are the numbers of boxes that it needs."""

    label: str
    needs: list[int] = field(default_factory=list)
    data: bool = False
    title: str = ""
    row: int = 0
    x: float = 0.0

    @property
    def width(self) -> float:
        return max(34.0, len(self.label) * _LETTER + 18)


class Drawing:
    """A graph's picture: shown by notebooks, or written by `save`. `svg` is its text."""

    def __init__(self, boxes: Sequence[Box]) -> None:
        self.boxes = list(boxes)
        self.svg = _svg(self.boxes)

    def save(self, filename: str | os.PathLike[str]) -> Path:
        """Write it as ``.svg`` or, within a page, as ``.html``. Returns the path."""
        path = Path(filename)
        if not path.suffix:
            path = path.with_suffix(".svg")
        if path.suffix not in (".svg", ".html"):
            raise bad_value("filename", str(filename), "graphs are drawn as .svg or .html")
        page = f"<!doctype html><meta charset='utf-8'><title>{html.escape(path.stem)}</title>{self.svg}"
        path.write_text(self.svg if path.suffix == ".svg" else page, encoding="utf-8")
        return path

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return f"<div style='overflow:auto;max-height:40em'>{self.svg}</div>"

    def __repr__(self) -> str:
        calls = sum(not box.data for box in self.boxes)
        return f"<Drawing of {calls} boxes; save('graph.svg') writes it>"


def visualize(
    *args: Any, filename: str | os.PathLike[str] | None = None, traverse: bool = True, **unused: Any
) -> Drawing:
    """Draw the graph of lazy objects: what needs what, from the top down.

    Parameters
    ----------
    args : `Delayed`, and (with `traverse`) lists, tuples, sets and dictionaries with such inside.
    filename : write it there as well: ``.svg`` or ``.html``.
    unused : there for dask's sake (`format`, `optimize_graph`, `rankdir`, ...).

    Examples
    --------
    >>> from howdah.engine.delayed.delayed import delayed
    >>> picture = visualize(delayed(sum)([delayed(abs)(-1), delayed(abs)(-2)]))
    >>> picture, picture.svg[:4]
    (<Drawing of 3 boxes; save('graph.svg') writes it>, '<svg')
    """
    from howdah.engine.delayed.compute import _found
    from howdah.engine.delayed.delayed import Delayed

    calls = [call for arg in args for call in _found(arg, traverse)]
    lazy = [call for call in calls if type(call) is Delayed]
    if not lazy or len(lazy) < len(calls):
        raise InputError("visualize: give Delayed objects, or nests of them; a frame's plan is shown by its explain()")
    made = Drawing(_calls(lazy) or _layers(lazy))
    if filename is not None:
        made.save(filename)
    return made


def _calls(wanted: Sequence[Any]) -> list[Box]:
    """One box a call; none when they are too many."""
    numbers: dict[int, int] = {}
    boxes: list[Box] = []
    stack = list(reversed(wanted))
    while stack:
        call = stack[-1]
        if id(call) in numbers:
            stack.pop()
            continue
        below = () if call._held is not None else call._deps
        pending = [dep for dep in below if id(dep) not in numbers]
        if pending:
            stack.extend(reversed(pending))
            continue
        stack.pop()
        needs = list(dict.fromkeys(numbers[id(dep)] for dep in below))
        box = Box(call._name, needs, call._held is not None, _told(call._notes))
        numbers[id(call)] = len(boxes)
        box.row = 1 + max([boxes[i].row for i in needs], default=-1)
        boxes.append(box)
        if len(boxes) > MOST_CALLS:
            return []
    return boxes


def _layers(wanted: Sequence[Any]) -> list[Box]:
    from howdah.engine.delayed.lowering import lower

    graph, _ = lower(wanted)
    numbers: dict[bytes, int] = {}
    boxes: list[Box] = []
    for held in graph.persisted.values():
        numbers[held.layer] = len(boxes)
        boxes.append(Box(f"kept x {held.n:,}", [], True))
    for key, layer in graph.layers.items():
        numbers[key] = len(boxes)
        needs = list(dict.fromkeys(numbers[dep.layer] for dep in layer.deps))
        title = ", ".join(f"{type(dep.pattern).__name__}" for dep in layer.deps)
        label = f"{layer.name} x {layer.n:,}" if layer.n > 1 else layer.name
        boxes.append(Box(label, needs, False, title, 1 + max([boxes[i].row for i in needs], default=-1)))
    return boxes


def _told(notes: Annotations | None) -> str:
    said = {} if notes is None else {k: v for k, v in notes._asdict().items() if v is not None}
    return ", ".join(f"{name}={value}" for name, value in said.items())


def _place(boxes: list[Box]) -> tuple[float, float]:
    """Rows from inputs to results; in a row, each near the middle of what it needs and is needed by."""
    rows: list[list[Box]] = [[] for _ in range(1 + max(box.row for box in boxes))]
    used: dict[int, list[Box]] = {id(box): [] for box in boxes}
    for box in boxes:
        rows[box.row].append(box)
        for i in box.needs:
            used[id(boxes[i])].append(box)

    def spread(row: list[Box]) -> None:
        at = -sum(box.width + _GAP for box in row) / 2
        for box in row:
            box.x = at + box.width / 2
            at += box.width + _GAP

    for row in rows:
        spread(row)
    for turn in range(4):
        for row in rows if turn % 2 == 0 else reversed(rows):
            near = {id(b): [boxes[i] for i in b.needs] if turn % 2 == 0 else used[id(b)] for b in row}
            row.sort(key=lambda b, near=near: _middle(b, near[id(b)]))  # type: ignore[misc]
            spread(row)
    left = min(box.x - box.width / 2 for box in boxes)
    for box in boxes:
        box.x += _EDGE - left
    return max(box.x + box.width / 2 for box in boxes) + _EDGE, len(rows) * _ROW - (_ROW - _HEIGHT) + 2 * _EDGE


def _middle(box: Box, near: Sequence[Box]) -> float:
    return sum(other.x for other in near) / len(near) if near else box.x


def _svg(boxes: list[Box]) -> str:
    width, height = _place(boxes)
    lines: list[str] = []
    shapes: list[str] = []
    for box in boxes:
        top = _EDGE + box.row * _ROW
        for i in box.needs:
            other = boxes[i]
            start, half = _EDGE + other.row * _ROW + _HEIGHT, _ROW / 3
            lines.append(
                f"<path d='M{other.x:.1f},{start} C{other.x:.1f},{start + half:.1f} {box.x:.1f},{top - half:.1f} "
                f"{box.x:.1f},{top}'/>"
            )
        corner, colour = (3, "#eef2f6") if box.data else (13, "#fdf3dc")
        title = f"<title>{html.escape(box.title)}</title>" if box.title else ""
        shapes.append(
            f"<g>{title}<rect x='{box.x - box.width / 2:.1f}' y='{top}' width='{box.width:.1f}' height='{_HEIGHT}' "
            f"rx='{corner}' fill='{colour}' stroke='#8a7a55'/><text x='{box.x:.1f}' y='{top + 17}' "
            f"text-anchor='middle' fill='#222'>{html.escape(box.label)}</text></g>"
        )
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:.0f}' height='{height:.0f}' "
        f"viewBox='0 0 {width:.0f} {height:.0f}' font-family='monospace' font-size='12'>"
        f"<g fill='none' stroke='#999'>{''.join(lines)}</g>{''.join(shapes)}</svg>"
    )
