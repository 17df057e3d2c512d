"""What a cluster does about its journal: a full disk, another version's, its own end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from waiting import until

from howdah.engine.api import Client
from howdah.engine.comm.connection.event_loop import loop_thread
from howdah.engine.scheduler.server.server import Server
from howdah.errors import HowdahError


def sized(data: bytes, path: str, item: int) -> int:
    with open(path, "a") as file:
        file.write(f"sized-{item}\n")
    return len(data)


def test_a_full_disk_does_not_stop_the_cluster_and_a_restart_says_why_it_cannot_be(
    processes: Callable[..., Any],
) -> None:
    cluster = processes(1)
    cluster.kill()
    cluster.program = [
        "-c",
        "import resource, sys, howdah.engine.scheduler.__main__ as it; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); sys.exit(it.main())",
    ]
    cluster.begin()
    client = cluster.client()
    assert client.submit(len, os.urandom(1000)).result(30) == 1000
    assert client.scheduler_info()["journal"]["failure"] == ""
    futures = [client.submit(sized, os.urandom(30_000), str(cluster.marks), item) for item in range(5)]
    assert client.gather(futures) == [30_000] * 5
    assert cluster.counts() == {f"sized-{item}": 1 for item in range(5)}
    failure = client.scheduler_info()["journal"]["failure"]
    assert failure == f"the journal {cluster.journal} cannot be written: File too large"
    assert cluster.log().count("after its end it cannot be restarted") == 1
    assert client.submit(abs, -3).result(30) == 3
    cluster.kill()
    cluster.begin(wait=False)
    assert cluster.scheduler.wait(30) == 4
    cluster.scheduler = None
    assert "ends too early: writing it failed while its scheduler continued (see its log)" in cluster.log()
    assert "Traceback" not in cluster.log()


def test_another_versions_journal_is_refused_with_a_remedy(processes: Callable[..., Any]) -> None:
    cluster = processes(0)
    cluster.kill()
    cluster.journal.write_bytes(cluster.journal.read_bytes().replace(b"protocol 2 ", b"protocol 3 ", 1))
    cluster.begin(wait=False)
    assert cluster.scheduler.wait(30) == 4
    cluster.scheduler = None
    assert "was written by another version" in cluster.log()
    assert "move the journal away to start with nothing" in cluster.log()


def test_the_clusters_end_is_the_journals(processes: Callable[..., Any]) -> None:
    cluster = processes(1)
    client = cluster.client()
    future = client.submit(abs, -1)
    assert future.result(30) == 1
    cluster.scheduler.terminate()
    assert cluster.scheduler.wait(30) == 0
    cluster.scheduler = None
    assert not cluster.journal.exists()
    until(lambda: client.connection.error is not None)
    with pytest.raises(HowdahError, match="the scheduler was asked to end"):
        client.submit(abs, -2)


@pytest.mark.slow
def test_a_client_without_its_journal_is_told(processes: Callable[..., Any]) -> None:
    """Who starts the scheduler with nothing has lost what clients held, and they hear it."""
    cluster = processes(1)
    client = cluster.client()
    assert client.submit(abs, -1).result(30) == 1
    cluster.kill()
    cluster.journal.unlink()
    cluster.begin()
    until(lambda: client.connection.error is not None)
    with pytest.raises(HowdahError, match="does not know this client any more"):
        client.submit(abs, -2)
    assert cluster.client().submit(abs, -2).result(60) == 2, "its worker came back to it, with nothing to do"


class Slow:
    """A journal elsewhere: what is appended is there only when somebody says so."""

    def __init__(self) -> None:
        self.written = self.nbytes = 0
        self.failure = ""
        self.records: list[list[bytes]] = []

    def replay(self) -> Iterator[list[memoryview]]:
        return iter(())

    def append(self, frames: Sequence[Any]) -> int:
        self.records.append([bytes(frame) for frame in frames])
        return len(self.records)

    def flush(self) -> None: ...

    def sync(self) -> None: ...

    def compact(self, snapshot: Sequence[Any]) -> None: ...

    def close(self, done: bool = False) -> None: ...


def test_nothing_is_confirmed_before_the_journal_has_it() -> None:
    journal = Slow()
    thread = loop_thread()
    with tempfile.TemporaryDirectory(prefix="howdah-test-") as folder:

        async def serve() -> Server:
            server = Server(journal=journal)
            server.open(f"unix://{folder}/scheduler")
            return server

        server = thread.call(serve())
        try:
            with Client(f"unix://{folder}/scheduler", set_as_default=False) as client:
                client.scheduler_info()
                [peer] = server.peers.clients.values()
                session = peer.session

                async def unconfirmed() -> int:
                    return session.received - session.acknowledgeable()

                until(lambda: thread.call(unconfirmed()) == 0)  # a query changes nothing, and needs no journal
                future = client.submit(abs, -1)
                client.scheduler_info()  # answered: the graph is handled
                assert server.scheduler.views.has_layer(future.results.key)
                heard = session.last_received
                until(lambda: session.last_received > heard)
                assert thread.call(unconfirmed()) > 0
                journal.written = len(journal.records)
                until(lambda: thread.call(unconfirmed()) == 0)
        finally:
            thread.call(server.close())
