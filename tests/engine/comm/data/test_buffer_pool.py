"""Memory that is used again: by whom, when not, and when it goes back to the system."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import until

from howdah.engine.comm.data import buffer_pool
from howdah.engine.comm.data.buffer_pool import BufferPool, size_class
from howdah.engine.comm.data.receive_buffers import POOLED_MIN_BYTES, allocate
from howdah.engine.comm.data.shared_memory import SegmentPool, SharedBuffers, map_aligned, share

MIB = 1 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    gc.collect()
    buffer_pool.trim()
    yield
    buffer_pool.trim()
    buffer_pool.set_limit(buffer_pool.DEFAULT_LIMIT)


def address(memory: memoryview) -> int:
    return np.frombuffer(memory, "u1").ctypes.data


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


@given(st.integers(1, 1 << 40))
def test_a_piece_is_an_eighth_larger_at_most_and_sizes_stay_what_they_are(n: int) -> None:
    size = size_class(n)
    assert n <= size <= max(n * 9 // 8 + PAGE, PAGE)
    assert size % PAGE == 0
    assert size_class(size) == size


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 20))
def test_more_bytes_never_get_a_smaller_piece(n: int, more: int) -> None:
    assert size_class(n) <= size_class(n + more)


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_the_last_one_is_taken_first_or_the_oldest_and_only_of_that_size() -> None:
    pieces: BufferPool[str] = BufferPool(lambda piece: None)
    for piece in ("first", "second", "third"):
        pieces.put(MIB, piece)
    assert pieces.nbytes == 3 * MIB
    assert pieces.take(2 * MIB) is None
    assert pieces.take(MIB) == "third"
    assert pieces.take(MIB, oldest=True) == "first"
    assert pieces.take(MIB) == "second"
    assert pieces.take(MIB) is None
    assert pieces.nbytes == 0


def test_what_would_be_too_much_goes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    pieces: BufferPool[str] = BufferPool(gone.append)
    buffer_pool.set_limit(2 * MIB)
    for piece in ("first", "second", "third"):
        pieces.put(MIB, piece)
    assert gone == ["third"]
    pieces.put(MIB, "one of several that were asked for together", force=True)
    assert gone == ["third"]
    assert buffer_pool.pooled_bytes() >= 3 * MIB


def test_what_nobody_takes_gets_old_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("howdah.engine.comm.data.buffer_pool.time.monotonic", lambda: now[0])
    gone: list[str] = []
    pieces: BufferPool[str] = BufferPool(gone.append)
    pieces.put(MIB, "old")
    now[0] = 105.0
    pieces.put(MIB, "young")
    now[0] = 111.0
    buffer_pool.trim(buffer_pool.MAX_IDLE_SECONDS)
    assert gone == ["old"]
    assert pieces.nbytes == MIB
    buffer_pool.trim()
    assert gone == ["old", "young"]
    assert pieces.nbytes == 0


def test_a_destructor_never_waits_for_the_lock() -> None:
    gone: list[str] = []
    pieces: BufferPool[str] = BufferPool(gone.append)
    with pieces.lock:  # another thread has it, or had it when this process was forked
        thread = threading.Thread(target=pieces.put, args=(MIB, "piece"))
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
        assert gone == ["piece"]
        pieces.put(MIB, "by the thread that has it")
    assert pieces.take(MIB) == "by the thread that has it"


def test_many_threads_lose_nothing() -> None:
    dropped: list[int] = []
    pieces: BufferPool[int] = BufferPool(dropped.append)
    buffer_pool.set_limit(50 * MIB)
    held: list[list[int]] = [[] for _ in range(4)]

    def work(number: int) -> None:
        for i in range(3000):
            pieces.put(MIB, number * 3000 + i)
            piece = pieces.take(MIB, oldest=bool(i % 2))
            if piece is not None:
                held[number].append(piece)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rest = []
    while (piece := pieces.take(MIB)) is not None:
        rest.append(piece)
    assert sorted([*dropped, *rest, *(one for part in held for one in part)]) == list(range(12000))
    assert pieces.nbytes == 0


# -- memory for what arrives ------------------------------------------------------------------------------------------


def test_memory_is_used_again_once_its_last_view_is_gone() -> None:
    memory = allocate(MIB)
    memory[:] = bytes([7]) * MIB
    where = address(memory)
    part = np.frombuffer(memory, "u1")[100:200]
    del memory
    others = [allocate(MIB) for _ in range(10)]
    assert where not in map(address, others)
    assert bytes(part) == bytes([7]) * 100
    del part
    assert address(allocate(MIB)) == where


def test_pieces_do_not_overlap_and_have_the_size_that_was_asked_for() -> None:
    sizes = [
        POOLED_MIN_BYTES,
        POOLED_MIN_BYTES + 1,
        300_001,
        MIB,
        MIB,
        MIB - 1,
        3 * MIB + 5,
        9 * MIB + 1,
        POOLED_MIN_BYTES - 1,
        1,
    ]
    for _ in range(2):  # in new memory, and in used
        memories = [allocate(size) for size in sizes]
        for number, memory in enumerate(memories):
            memory[:] = bytes([number + 1]) * len(memory)
        assert [len(memory) for memory in memories] == sizes
        for number, memory in enumerate(memories):
            assert memory[0] == memory[-1] == number + 1
            assert not memory.readonly
        del memory, memories


def test_what_is_kept_goes_back_to_the_system() -> None:
    before = resident()
    memories = [allocate(MIB) for _ in range(60)]
    for memory in memories:
        memory[:] = bytes([1]) * MIB
    assert resident() > before + 50 * MIB
    del memory, memories
    assert resident() > before + 50 * MIB
    assert buffer_pool.pooled_bytes() >= 60 * MIB
    buffer_pool.trim()
    assert resident() < before + 10 * MIB


def test_memory_that_the_system_does_not_have_is_an_error_that_says_so() -> None:
    with pytest.raises(MemoryError, match=r"no memory of \d+ bytes for a result that arrives"):
        allocate(1 << 60)


# -- shared memory ----------------------------------------------------------------------------------------------------


def blocks(value: float) -> list[Any]:
    return [memoryview(np.full(MIB // 8, value)).cast("B")]


def shared(segments: SegmentPool, value: float) -> SharedBuffers:
    made = share(blocks(value), segments)
    assert made is not None
    return made


def inode(fd: int) -> int:
    return os.fstat(fd).st_ino


def lent_inode(one: SharedBuffers) -> int:
    fd = one.open_reader()
    try:
        return inode(fd)
    finally:
        os.close(fd)


def test_shared_memory_is_written_again_when_nobody_maps_it() -> None:
    segments = SegmentPool()
    one = shared(segments, 1.0)
    which = lent_inode(one)
    views = one.map()
    del one
    other = shared(segments, 2.0)
    assert lent_inode(other) != which
    assert np.frombuffer(views[0])[-1] == 1.0
    views.clear()
    again = shared(segments, 3.0)
    assert lent_inode(again) == which
    assert np.frombuffer(again.map()[0]).tolist() == [3.0] * (MIB // 8)
    assert np.frombuffer(other.map()[0])[5] == 2.0


def test_what_is_on_its_way_is_not_written_over() -> None:
    segments = SegmentPool()
    one = shared(segments, 1.0)
    fd = one.open_reader()  # as it lies in a socket that nobody has read yet
    sizes = one.sizes
    del one
    others = [shared(segments, 2.0) for _ in range(3)]
    assert inode(fd) not in map(lent_inode, others)
    assert np.frombuffer(map_aligned(fd, sizes)[0])[0] == 1.0
    os.close(fd)
    assert np.frombuffer(shared(segments, 3.0).map()[0])[0] == 3.0


READER = """
import mmap, os, sys
memory = mmap.mmap(int(sys.argv[1]), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
os.close(int(sys.argv[1]))
print(memory[:8].hex(), flush=True)
sys.stdin.read()
"""


def test_a_reader_that_is_killed_holds_nothing_any_more() -> None:
    segments = SegmentPool()
    one = shared(segments, 1.0)
    fd = one.open_reader()
    which = inode(fd)
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(fd)], pass_fds=[fd], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline().strip() == np.float64(1.0).tobytes().hex()
        os.close(fd)
        del one
        assert lent_inode(shared(segments, 2.0)) != which
    finally:
        reader.kill()
        reader.wait()
    found: list[SharedBuffers] = []  # the oldest is looked at first, and what is in use waits for the next time
    until(lambda: found.append(shared(segments, 3.0)) or lent_inode(found[-1]) == which)


def test_who_gets_a_descriptor_can_neither_write_nor_cut() -> None:
    fd = shared(SegmentPool(), 1.0).open_reader()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(fd, b"x")
    with pytest.raises(OSError, match="Invalid argument"):
        os.ftruncate(fd, 0)
    os.close(fd)


def test_kept_memory_makes_room_when_descriptors_run_short() -> None:
    segments = SegmentPool()
    segments.available = 2
    del_soon = [shared(segments, 1.0), shared(segments, 2.0)]
    assert share(blocks(3.0), segments) is None
    del_soon.clear()
    large = share([memoryview(bytearray(3 * MIB))], segments)  # nothing of this size is kept
    assert large is not None
    assert segments.available == 1
    segments.trim()
    del large
    segments.trim()
    assert segments.available == 2
