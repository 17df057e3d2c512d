"""Results that leave memory and come back, those whose files are damaged, and the accounts of both."""

import os
import resource
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from waiting import until

from howdah.engine.protocol.layers import TaskRange
from howdah.engine.worker.store.sizeof import memory_blocks
from howdah.engine.worker.store.store import MISSING, ResultStore, size_of_value

KEY = b"k" * 16
MIB = 1 << 20


def put(store: ResultStore, item: int, value: Any) -> None:
    store.put(KEY, (item,), (value,), (size_of_value(value),))


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("howdah-spill-*/*.result"))


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of the tests is large itself; only what the store counts matters here."""
    monkeypatch.setattr("howdah.engine.worker.store.spill.resident_bytes", lambda: 0)


@pytest.mark.usefixtures("roomy")
def test_the_oldest_go_to_disk_and_come_back(tmp_path: Path) -> None:
    store = ResultStore(20 * MIB, str(tmp_path))
    for i in range(10):
        put(store, i, np.full(MIB // 8, float(i)))
    assert not files(tmp_path)
    store.get(KEY, 0)  # used just now
    for i in range(10, 30):
        put(store, i, np.full(MIB // 8, float(i)))
    until(store.spiller.is_settled)
    assert store.nbytes == 30 * MIB
    assert len(files(tmp_path)) == len(list(tmp_path.glob("*/*"))) >= 19
    for i in reversed(range(30)):
        value = store.get(KEY, i)
        assert value[0] == value[-1] == float(i)
        value[0] = -1.0  # it is the reader's own
    until(store.spiller.is_settled)
    store.free([TaskRange(KEY, 0, 30)])
    assert (store.nbytes, store.memory, files(tmp_path)) == (0, 0, [])
    store.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("roomy")
def test_what_is_in_use_stays(tmp_path: Path) -> None:
    store = ResultStore(10 * MIB, str(tmp_path))
    put(store, 0, np.zeros(4 * MIB // 8))
    used = store.get(KEY, 0)
    for i in range(1, 9):
        put(store, i, np.zeros(2 * MIB // 8))
    until(store.spiller.is_settled)
    assert store.get(KEY, 0) is used
    store.close()


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize("damage", ["flipped", "short", "gone"])
def test_a_damaged_file_is_a_lost_result(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    store = ResultStore(4 * MIB, str(tmp_path))
    for i in range(6):
        put(store, i, np.full(MIB // 8, float(i)))
    until(store.spiller.is_settled)
    victim = files(tmp_path)[0]
    if damage == "flipped":
        with open(victim, "r+b") as file:
            file.seek(MIB // 2)
            file.write(b"\xff")
    elif damage == "short":
        os.truncate(victim, 1000)
    else:
        victim.unlink()
    assert store.get(KEY, 0) is MISSING
    assert not store.has(KEY, 0)
    assert (store.lost, store.nbytes) == (1, 5 * MIB)
    assert "computed again" in caplog.text
    assert store.get(KEY, 1)[0] == 1.0
    put(store, 0, np.zeros(MIB // 8))  # made again
    assert store.get(KEY, 0)[0] == 0.0
    store.close()


@pytest.mark.usefixtures("roomy")
def test_a_full_disk_leaves_results_in_memory_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = ResultStore(4 * MIB, str(tmp_path))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB // 2, before[1]))  # no file may be larger: as if the disk were full
    try:
        for i in range(8):
            put(store, i, np.full(MIB // 8, float(i)))
        until(lambda: store.spiller.disk_error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.memory == 8 * MIB
    assert files(tmp_path) == []
    assert "cannot be moved to disk" in caplog.text
    assert [store.get(KEY, i)[0] for i in range(8)] == [float(i) for i in range(8)]
    store.close()


@pytest.mark.usefixtures("roomy")
def test_a_run_waits_until_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ResultStore(16 * MIB, str(tmp_path))
    monkeypatch.setattr("howdah.engine.worker.store.spill.resident_bytes", lambda: store.memory + 8 * MIB)
    for i in range(7):
        put(store, i, np.zeros(MIB // 8))  # 15 of 16 MiB, and below the target
    with store.reserve(KEY, 3):  # three more of 1 MiB
        assert store.memory + 8 * MIB + 3 * MIB <= 16 * MIB
    store.close()


def test_shared_memory_counts_once() -> None:
    store = ResultStore()
    base = np.zeros(MIB)
    put(store, 0, base)
    put(store, 1, base[: MIB // 2])
    put(store, 2, [base[MIB // 2 :]])
    table = pa.table({"a": np.arange(MIB), "b": np.arange(MIB)})
    for i in range(4):
        put(store, 3 + i, table.slice(i * 1000, 100_000))
    assert store.memory < 8 * MIB + 16 * MIB + 10_000
    store.free([TaskRange(KEY, 0, 2)])
    assert store.memory >= 8 * MIB + 16 * MIB  # the list holds all of it
    store.free([TaskRange(KEY, 2, 6)])
    assert 16 * MIB <= store.memory < 16 * MIB + 10_000
    store.free([TaskRange(KEY, 6, 7)])
    assert (store.memory, store.nbytes) == (0, 0)


@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame({"x": np.arange(100_000.0), "y": np.arange(100_000)}),
        pd.DataFrame({"s": pd.array(["some text"] * 50_000, dtype="string[pyarrow]")}),
        pd.Series(np.arange(100_000.0)),
        pa.array(np.arange(100_000)),
        {"a": np.arange(100_000), "b": [b"x" * 100_000]},
    ],
    ids=["frame", "arrow-backed", "series", "array", "nest"],
)
def test_pieces_of_memory_add_up(value: Any) -> None:
    size = size_of_value(value)
    assert 0.9 * size <= sum(nbytes for _, nbytes in memory_blocks(value, size)) <= 1.2 * size + 1000


@pytest.mark.usefixtures("roomy")
def test_many_threads_read_while_results_come_and_go(tmp_path: Path) -> None:
    store = ResultStore(4 * MIB, str(tmp_path))
    for i in range(12):
        put(store, i, np.full(MIB // 8, float(i)))
    faults: list[str] = []

    def read(seed: int) -> None:
        for step in range(60):
            i = (seed * 7 + step * 5) % 12
            value = store.get(KEY, i) if step % 2 else store.pack(KEY, i, seed % 2 == 0)
            if step % 2 and not (value is not MISSING and value[0] == value[-1] == i):
                faults.append(f"item {i} was {value}")

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    until(store.spiller.is_settled)
    assert store.memory == sum(size for size, _ in store.blocks.values())
    store.free([TaskRange(KEY, 0, 12)])
    assert (store.memory, store.nbytes, files(tmp_path)) == (0, 0, [])
    store.close()
