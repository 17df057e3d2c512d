"""Graphs as pictures: `Delayed.visualize` and `howdah.visualize`, drawn as SVG without other programs.

A small graph is drawn call by call, a large one layer by layer ("inc x 10,000"), which is also how it runs.
"""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from howdah.engine.delayed.compute import lazy_parts
from howdah.engine.delayed.lowering import lower
from howdah.engine.delayed.task import LazyTask, annotations_of, deps_of, name_of, persisted_of
from howdah.engine.graph.annotations import Annotations
from howdah.errors import InputError, bad_value

MOST_CALLS = 100
"""The number of calls up to which each is a box; graphs of more are drawn by layers."""

_ROW, _HEIGHT, _GAP, _LETTER, _EDGE = 62, 26, 14, 7.2, 12


@dataclass
class Box:
    """A call, a layer, or data. `needs` are the numbers of the boxes that it depends on."""

    label: str
    needs: list[int] = field(default_factory=list)
    data: bool = False
    title: str = ""
    row: int = 0
    x: float = 0.0

    @property
    def width(self) -> float:
        """The width in pixels, from the length of the label."""
        return max(34.0, len(self.label) * _LETTER + 18)


class Drawing:
    """The picture of a graph: notebooks show it, `save` writes it, and `svg` is its text.

    Examples
    --------
    >>> picture = Drawing([Box("load"), Box("clean", [0], row=1)])
    >>> picture.save("graph.html").name, picture.svg.count("<rect")
    ('graph.html', 2)
    """

    def __init__(self, boxes: Sequence[Box]) -> None:
        self.boxes = list(boxes)
        self.svg = _svg(self.boxes)

    def save(self, filename: str | os.PathLike[str]) -> Path:
        """Write the picture to a file.

        Parameters
        ----------
        filename
            Ends in ``.svg``, or in ``.html`` for a page; without an ending ``.svg`` is added.

        Returns
        -------
        pathlib.Path

        Raises
        ------
        InputError : another ending.
        """
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
    """Draw the graph of lazy objects, with inputs at the top and results at the bottom.

    Parameters
    ----------
    *args
        `Delayed`, and (with `traverse`) lists, tuples, sets and dictionaries with such inside.
    filename
        Where to write it as well: ``.svg`` or ``.html``.
    traverse
        Look for `Delayed` inside of containers.
    **unused
        `format`, `optimize_graph`, `rankdir`, ...: accepted for dask compatibility; ignored.

    Returns
    -------
    Drawing

    Raises
    ------
    InputError : an argument without a `Delayed`; the plan of a frame is shown by its `explain()`.

    Examples
    --------
    >>> from howdah.engine.delayed.delayed import delayed
    >>> picture = visualize(delayed(sum)([delayed(abs)(-1), delayed(abs)(-2)]))
    >>> picture, picture.svg[:4]
    (<Drawing of 3 boxes; save('graph.svg') writes it>, '<svg')
    """
    calls = [call for arg in args for call in lazy_parts(arg, traverse)]
    lazy = [call for call in calls if isinstance(call, LazyTask)]
    if not lazy or len(lazy) < len(calls):
        raise InputError("visualize: give Delayed objects, or nests of them; a frame's plan is shown by its explain()")
    made = Drawing(_calls(lazy) or _layers(lazy))
    if filename is not None:
        made.save(filename)
    return made


def _calls(targets: Sequence[Any]) -> list[Box]:
    """Return a box for each call; none when there are too many."""
    numbers: dict[int, int] = {}
    boxes: list[Box] = []
    stack = list(reversed(targets))
    while stack:
        call = stack[-1]
        if id(call) in numbers:
            stack.pop()
            continue
        persisted = persisted_of(call) is not None
        below = () if persisted else deps_of(call)
        pending = [dep for dep in below if id(dep) not in numbers]
        if pending:
            stack.extend(reversed(pending))
            continue
        stack.pop()
        needs = list(dict.fromkeys(numbers[id(dep)] for dep in below))
        box = Box(name_of(call), needs, persisted, _title(annotations_of(call)))
        numbers[id(call)] = len(boxes)
        box.row = 1 + max([boxes[i].row for i in needs], default=-1)
        boxes.append(box)
        if len(boxes) > MOST_CALLS:
            return []
    return boxes


def _layers(targets: Sequence[Any]) -> list[Box]:
    graph, _ = lower(targets)
    numbers: dict[bytes, int] = {}
    boxes: list[Box] = []
    for persisted in graph.persisted.values():
        numbers[persisted.layer] = len(boxes)
        boxes.append(Box(f"persisted x {persisted.n:,}", [], True))
    for key, layer in graph.layers.items():
        numbers[key] = len(boxes)
        needs = list(dict.fromkeys(numbers[dep.layer] for dep in layer.deps))
        title = ", ".join(f"{type(dep.pattern).__name__}" for dep in layer.deps)
        label = f"{layer.name} x {layer.n:,}" if layer.n > 1 else layer.name
        boxes.append(Box(label, needs, False, title, 1 + max([boxes[i].row for i in needs], default=-1)))
    return boxes


def _title(annotations: Annotations | None) -> str:
    return "" if annotations is None else ", ".join(f"{k}={v}" for k, v in annotations.given().items())


def _place(boxes: list[Box]) -> tuple[float, float]:
    """Place boxes in rows from inputs to results, each near the middle of its neighbours; return width and height."""
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
