"""The examples as their readers run them, on the real YARN: the notebook, the README's lines, the nightly script."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pyarrow.parquet as pq
import pytest
from nbclient import NotebookClient

from howdah.io import open_filesystem

pytestmark = pytest.mark.hadoop
Yarn = Any  # `conftest.Yarn`, which cannot be imported under pytest's importlib mode
ROOT = Path(__file__).parent.parent.parent
SOURCE = "hdfs:///tpch/lineitem"


@pytest.fixture(scope="module")
def lineitem(hadoop: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[pd.Series]:
    """TPC-H's `lineitem`, small, in HDFS; and pandas' answer from the same files."""
    folder = tmp_path_factory.mktemp("tpch")
    subprocess.run(
        [Path(sys.executable).with_name("tpchgen-cli"), "parquet", "-s", "0.01", "--tables=lineitem", "--parts=4",
         "--output-dir", folder],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    files, path = open_filesystem(SOURCE)
    files.mkdirs(path)
    parts = sorted((folder / "lineitem").glob("*.parquet"))
    for part in parts:
        files.create(f"{path}/{part.name}", part.read_bytes())
    lines = pd.concat([pq.read_table(part).to_pandas() for part in parts])
    yield lines.assign(revenue=lines.l_extendedprice * (1 - lines.l_discount)).groupby("l_shipdate").revenue.sum()
    files.rm(path, recursive=True)


def written(url: str) -> pd.Series:
    """What an example left in HDFS; it must be complete."""
    files, path = open_filesystem(url)
    names = sorted(one.path for one in files.ls(path))
    assert names[0].endswith("/_SUCCESS") or any(name.endswith("/_SUCCESS") for name in names), names
    tables = [pq.read_table(files.open(name)).to_pandas() for name in names if name.endswith(".parquet")]
    return pd.concat(tables).sort_index().revenue


def best(daily: pd.Series) -> pd.Series:
    """The ten best days; pandas' own `nlargest` refuses decimals."""
    return daily.sort_values(ascending=False, kind="stable").head(10)


def forget(url: str) -> None:
    files, path = open_filesystem(url)
    files.rm(path, recursive=True, missing_ok=True)


@pytest.fixture
def etl(yarn: Yarn) -> str:
    """The environment under the name that the examples use; uploads nothing, for the tests have it there."""
    done = yarn.command("env", "pack", "--name", "etl", "--json")
    assert done.returncode == 0, done.stderr
    return "etl"


def test_the_notebook_does_the_job(
    yarn: Yarn, etl: str, lineitem: pd.Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("TARGET", "hdfs:///out/from-notebook")
    before = yarn.applications()
    notebook = nbformat.read(ROOT / "examples" / "edge_notebook.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=180, kernel_name="python3", resources={"metadata": {"path": str(ROOT / "examples")}}
    ).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pages = " ".join(output["data"].get("text/html", "") for output in shown if "data" in output)
    assert "application_" in pages, "the cluster shows itself as HTML"
    said = " ".join(output.get("text", "") + str(output.get("data", {}).get("text/plain", "")) for output in shown)
    assert all(str(value) in said for value in best(lineitem))
    pd.testing.assert_series_equal(written("hdfs:///out/from-notebook"), lineitem)
    (app_id,) = yarn.applications() - before
    assert yarn.application(app_id)["finalStatus"] == "SUCCEEDED"
    yarn.nothing_left(app_id)


def test_the_readmes_lines_do_the_job(yarn: Yarn, etl: str, lineitem: pd.Series) -> None:
    forget("hdfs:///out/revenue")
    (block,) = re.findall(r"^```python on-yarn\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert ".nlargest(10).compute()" in block
    block = block.replace("daily.nlargest(10).compute()", "print(daily.nlargest(10).compute().map(str).to_json())")
    before = yarn.applications()
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout.splitlines()[-1]).values()) == [str(value) for value in best(lineitem)]
    pd.testing.assert_series_equal(written("hdfs:///out/revenue"), lineitem)
    (app_id,) = yarn.applications() - before
    yarn.nothing_left(app_id)
    forget("hdfs:///out/revenue")


def test_the_nightly_script(yarn: Yarn, etl: str, lineitem: pd.Series, tmp_path: Path) -> None:
    lock = tmp_path / "nightly.lock"
    env = {
        **os.environ, "DATE": "2026-11-20", "LOCK": str(lock), "WORKER_MEMORY": "640MiB",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip

    def nightly(source: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "examples" / "nightly.sh", source, "hdfs:///out/nightly"],
            env=env, cwd="/", capture_output=True, text=True, timeout=180, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    before = yarn.applications()
    with open(lock, "w") as held:  # the run of before, still going on
        fcntl.flock(held, fcntl.LOCK_EX)
        refused = nightly(SOURCE)
    assert refused.returncode == 75
    assert "still going on" in refused.stderr
    assert yarn.applications() == before

    done = nightly(SOURCE)
    assert done.returncode == 0, done.stderr
    pd.testing.assert_series_equal(written("hdfs:///out/nightly/day=2026-11-20"), lineitem)
    with open(lock, "w") as free:
        fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the lock is free again

    again = nightly(SOURCE)
    assert again.returncode == 1, "the day's output is there: cron hears of it, and it stays as it is"
    assert "PathExists" in again.stderr
    pd.testing.assert_series_equal(written("hdfs:///out/nightly/day=2026-11-20"), lineitem)
    for app_id in yarn.applications() - before:
        yarn.nothing_left(app_id)
