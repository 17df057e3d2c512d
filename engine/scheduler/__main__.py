"""`python -m howdah.engine.scheduler`: a scheduler in a process of its own, as an application's master starts it.

Once it listens it writes `--address-file`: JSON with `address`, `status` (the URL of the status page) and `pid`, in one
step. It ends on SIGTERM, after it has sent its end to clients and workers. If it is killed and started again with the
same `--journal` at the same address (port 0 is the previous one), it continues where its predecessor stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from howdah.engine.comm.security.certificates import Security
from howdah.engine.scheduler.server.journal import Opener, open_journal
from howdah.engine.scheduler.server.restart import LEAST_COMPACTED
from howdah.engine.scheduler.server.server import Server
from howdah.engine.scheduler.server.status_page import StatusServer
from howdah.errors import HowdahError

log = logging.getLogger("howdah.engine.scheduler")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m howdah.engine.scheduler", description="One howdah scheduler.")
    parser.add_argument("--listen", required=True, help="tls://HOST:0 or unix:///path")
    parser.add_argument("--security", default="", help="the scheduler's security directory; none over Unix sockets")
    parser.add_argument("--address-file", required=True, help="where to write the address once it listens (JSON)")
    parser.add_argument("--name", default="howdah", help="the cluster's name")
    parser.add_argument(
        "--lease", type=float, default=60.0, help="seconds for which the work of a client without a connection is kept"
    )
    parser.add_argument("--worker-lease", type=float, default=8.0, help="the same for a worker's results")
    parser.add_argument("--journal", default="", help="file from which a restarted scheduler continues")
    parser.add_argument("--speculate", action="store_true", help="run stragglers a second time on idle workers")
    parser.add_argument("--events", default="", help="append every transition to this file, as JSON lines")
    parser.add_argument("--status-host", default="127.0.0.1", help="where the status page listens")
    parser.add_argument("--status-port", type=int, default=0, help="0: any; -1: no status page")
    parser.add_argument("--die-with-parent", action="store_true", help="end when standard input ends")
    return parser.parse_args(argv)


def main(
    argv: list[str] | None = None,
    openers: Mapping[str, Opener] | None = None,
    least_compacted: int = LEAST_COMPACTED,
) -> int:
    """Run a scheduler until it ends; return the process's exit code.

    `openers` are for journals elsewhere than in files (`journal.open_journal`), `least_compacted` see `Server`.
    """
    options = arguments(argv)
    logging.basicConfig(
        level=os.environ.get("HOWDAH_LOG", "INFO"),
        format="%(asctime)s scheduler %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    try:
        return asyncio.run(serve(options, openers, least_compacted))
    except HowdahError as error:
        log.error("%s", error)
        return 4


async def serve(options: argparse.Namespace, openers: Mapping[str, Opener] | None, least_compacted: int) -> int:
    """Serve until a signal, the parent's end or a failure of the scheduler; return the process's exit code."""
    security = Security.load(options.security) if options.security else None
    journal = open_journal(options.journal, openers) if options.journal else None
    server = Server(
        security, options.name, options.lease, options.worker_lease, options.speculate, journal, least_compacted
    )
    if options.events:
        server.queries.write_events(options.events)
    address = server.open(options.listen)
    status = ""
    if options.status_port >= 0:
        status = StatusServer(server.queries, server.metrics).open(options.status_host, options.status_port)
    _write(options.address_file, {"address": address, "status": status, "pid": os.getpid()})
    log.info("serving at %s, status at %s", address, status or "no port")
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    if options.die_with_parent:
        os.set_blocking(0, False)
        loop.add_reader(0, _on_input, done)
    waits = [asyncio.ensure_future(event.wait()) for event in (done, server.failed)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    await server.close(server.failure or "the scheduler was asked to end")
    return 1 if server.failure else 0


def _on_input(done: asyncio.Event) -> None:
    """Standard input is readable: at its end the parent has ended."""
    with contextlib.suppress(BlockingIOError):
        if not os.read(0, 4096):
            asyncio.get_running_loop().remove_reader(0)
            done.set()


def _write(path: str, found: dict[str, object]) -> None:
    part = Path(f"{path}.part")
    part.write_text(json.dumps(found))
    part.rename(path)


if __name__ == "__main__":
    sys.exit(main())
