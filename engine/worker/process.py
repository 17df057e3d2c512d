"""A worker process from its options to its exit code: logging, signals, its parent's death."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys

from howdah.engine.comm.identity import Security
from howdah.engine.scheduler.records import WorkerInfo
from howdah.engine.worker import logs
from howdah.engine.worker.server import Worker
from howdah.errors import HowdahError

log = logging.getLogger("howdah.engine.worker")


def run(options: argparse.Namespace) -> int:
    """Be the worker that `options` describe (see `__main__`); returns the exit code."""
    logging.basicConfig(
        level=os.environ.get("HOWDAH_LOG", "WARNING"),
        format=f"%(asctime)s {options.name} %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    logs.listen()
    try:
        code = asyncio.run(_serve(options))
        if code == RESTART:
            _start_anew()
        return code
    except HowdahError as error:
        log.error("%s", error)
        return 4


RESTART = -1
"""What `Worker.run` returns when the process is to start anew."""

_parent_line = -1


def _start_anew() -> None:
    """The same process, the same command, a new interpreter: whoever watches the process sees no end of it."""
    if _parent_line >= 0:
        os.dup2(_parent_line, 0)
    os.execv(sys.executable, sys.orig_argv)


async def _serve(options: argparse.Namespace) -> int:
    host = options.host or socket.gethostname()
    info = WorkerInfo(
        name=options.name,
        host=host,
        rack=options.rack,
        slots=options.slots,
        memory=options.memory_limit,
        container=options.container,
        pid=os.getpid(),
        resources=options.resources,
    )
    security = Security.load(options.security) if options.security else None
    worker = Worker(
        info,
        options.scheduler,
        security,
        options.listen or f"tls://{host}:0",
        lease=options.lease,
        memory_limit=options.memory_limit,
        local_dir=options.local_dir,
    )
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.leave, "SIGTERM")
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C is for the client; it ends its workers
    if options.die_with_parent:
        # Tasks get an empty standard input, which they may even close; the parent's line is ours.
        global _parent_line
        line = _parent_line = os.dup(0)
        with open(os.devnull, "rb") as empty:
            os.dup2(empty.fileno(), 0)
        os.set_blocking(line, False)
        loop.add_reader(line, _parent_said, line)
    return await worker.run()


def _parent_said(line: int) -> None:
    try:
        ended = os.read(line, 4096) == b""
    except BlockingIOError:
        return
    if ended:
        # The parent is gone, and the scheduler with it: there is nobody to say good-bye to.
        os._exit(3)
