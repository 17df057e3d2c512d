"""What a notebook shows: bars that move, tables, pictures; one real kernel for all of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

CELLS = [
    """
import howdah as hd, threading
client = hd.Client(n_workers=1, resources={"gpu": 1})
gate = hd.Event("gate")
client.wait_for_workers(1)
client
""",
    "client.cluster",
    """
futures = client.map(lambda i: gate.wait(30), range(4), pure=False)
hd.progress(futures)  # returns at once
print("asked", sum(f.done() for f in futures))
gate.set()
client.gather(futures)
bar = [t for t in threading.enumerate() if t.name == "howdah-progress"]
for thread in bar:
    thread.join(20)
""",
    "hd.delayed(sum)([hd.delayed(abs)(-i) for i in range(3)]).compute(progress=True)",
    "futures[0]",
    "hd.delayed(sum)([hd.delayed(abs)(-i) for i in range(3)]).visualize()",
    "client.close()",
]


def shown(cell: Any, kind: str = "text/html") -> list[str]:
    return [output["data"][kind] for output in cell.outputs if kind in output.get("data", {})]


def test_bars_tables_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    client, cluster, bar, computed, future, picture, _ = notebook.cells
    assert "<table>" in shown(client)[0]
    assert "gpu=1" in shown(client)[0]
    assert "<b>LocalCluster</b>" in shown(cluster)[0]
    assert "".join(output["text"] for output in bar.outputs if output.get("name") == "stdout") == "asked 0\n"
    (last,) = shown(bar)  # one display, which was updated in place
    assert "100%  4/4" in last
    assert re.search(r"<span style=[^>]*>━{20}</span>", last)  # rich's bar, full
    assert "100%  4/4" in shown(computed)[0]
    assert re.search(r"<span style=[^>]*>━{20}</span>", shown(computed)[0])
    assert "<b>Future</b>" in shown(future)[0]
    assert "<svg" in shown(picture, "image/svg+xml")[0]
    assert not [output for cell in notebook.cells for output in cell.outputs if output.get("name") == "stderr"]
