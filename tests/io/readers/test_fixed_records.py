"""A reader of another package: installed by entry point, it reads through howdah, here and on a cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "fixed_records"
RECORD = np.dtype([("time", "<i8"), ("price", "<f8"), ("size", "<i4")])
FIELDS = {"time": "<i8", "price": "<f8", "size": "<i4"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example installed in it, built from a copy so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    target = folder / "target"
    subprocess.run(
        [sys.executable, "-m", "uv", "pip", "install", "-q", "--offline", "--no-deps", "--no-build-isolation",
         "--python", sys.executable, "--target", str(target), str(source)],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return target


@pytest.fixture
def ticks(tmp_path: Path) -> Path:
    """Three files of 1000, 0 and 500 records; `time` is the number of the record."""
    folder = tmp_path / "ticks"
    folder.mkdir()
    records = np.zeros(1500, RECORD)
    records["time"] = np.arange(1500)
    records["price"] = np.arange(1500) / 4
    records["size"] = np.arange(1500) % 7
    for name, part in {"a": records[:1000], "b": records[:0], "c": records[1000:]}.items():
        (folder / f"{name}.bin").write_bytes(part.tobytes())
    return folder


def run(code: str, installed: Path, *arguments: str) -> str:
    """What a new interpreter prints that has the example on its path."""
    path = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=False, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


READ = f"""
import sys, howdah as hd
from howdah.engine.plan.options import compile_options
df = hd.read_table(sys.argv[1], format="fixed_records", fields={FIELDS})
"""

CHECK = """
    assert df.dtypes.astype(str).to_dict() == {"time": "int64", "price": "float64", "size": "int32"}
    assert len(df) == 1500
    found = df[df.time >= 998].compute()
    assert found.index.tolist() == found.time.tolist() == list(range(998, 1500))
    assert (found.price == found.time / 4).all()
    assert df.groupby("size").price.sum().compute().sum() == sum(range(1500)) / 4
    assert df.head(3)["size"].compute().tolist() == [0, 1, 2]
print("right")
"""


def test_reads_without_a_cluster(installed: Path, ticks: Path) -> None:
    assert run(f"{READ}if True:{CHECK}", installed, str(ticks)) == "right\n"


def test_reads_on_a_local_cluster_in_many_tasks(installed: Path, ticks: Path) -> None:
    code = f"""{READ}
with hd.Client(n_workers=1), compile_options(single_task_bytes=-1, split_bytes=4000):
    assert df.npartitions == 9{CHECK}"""
    assert run(code, installed, str(ticks)) == "right\n"


def test_the_readers_own_errors_come_through(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.bin").write_bytes(b"1234567")
    code = f"""
import howdah as hd
try:
    hd.read_table({str(tmp_path)!r}, format="fixed_records", fields={FIELDS})
except hd.errors.CorruptFile as error:
    print(error)
"""
    assert "7 bytes are not records of 20 bytes" in run(code, installed)
