"""Graphs as pictures, call by call or layer by layer."""

from __future__ import annotations

import operator
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

import howdah as hd
from howdah.engine.api import Client
from howdah.errors import InputError


def inc(x: int) -> int:
    return x + 1


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def paths(svg: str) -> int:
    return sum(1 for _ in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}path"))


def test_a_small_graph_is_drawn_call_by_call(tmp_path: Path) -> None:
    leaves = [hd.delayed(inc)(i) for i in range(3)]
    with hd.annotate(resources={"gpu": 1}):
        total = hd.delayed(sum, name="<total>")(leaves)
    picture = (total + leaves[0]).visualize(filename=tmp_path / "graph")
    assert sorted(texts(picture.svg)) == ["<total>", "add", "inc", "inc", "inc"]
    assert paths(picture.svg) == 5
    assert "gpu" in picture.svg
    assert (tmp_path / "graph.svg").read_text() == picture.svg == picture._repr_svg_()
    assert picture.svg in picture._repr_html_()
    hd.visualize([total, {"a": leaves[0]}], filename=tmp_path / "page.html")
    assert "<svg" in (tmp_path / "page.html").read_text()


def test_boxes_of_one_row_do_not_overlap() -> None:
    leaves = [hd.delayed(inc)(i) for i in range(20)]
    pairs = [hd.delayed(operator.add)(a, b) for a, b in zip(leaves[::2], leaves[1::2])]
    picture = hd.visualize(*pairs)
    for one in picture.boxes:
        for other in picture.boxes:
            if one is not other and one.row == other.row:
                assert abs(one.x - other.x) >= (one.width + other.width) / 2
    assert all(box.row > picture.boxes[i].row for box in picture.boxes for i in box.needs)


def test_a_large_graph_is_drawn_layer_by_layer() -> None:
    level: list[Any] = [hd.delayed(inc)(i) for i in range(1024)]
    while len(level) > 1:
        level = [hd.delayed(sum)(level[i : i + 4]) for i in range(0, len(level), 4)]
    picture = level[0].visualize()
    assert texts(picture.svg) == ["inc x 1,024", "sum x 256", "sum x 64", "sum x 16", "sum x 4", "sum"]


def test_what_is_kept_already_is_drawn_as_data(client: Client) -> None:
    kept = client.persist(hd.delayed(inc)(1))
    boxes = (kept + 1).visualize().boxes
    assert [box.data for box in boxes] == [True, False]


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give Delayed objects"):
        hd.visualize([1, 2])
    with pytest.raises(InputError, match=r"\.svg or \.html"):
        hd.delayed(inc)(1).visualize(filename=tmp_path / "graph.png")
