"""A worker process from its options to its exit code: logging, signals, what it has of its supervisor."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import faulthandler
import logging
import os
import signal
import socket
import sys

from howdah.engine.comm.connection.event_loop import Loop
from howdah.engine.comm.data import buffer_pool as kept
from howdah.engine.comm.security.certificates import Security, role_of_pem
from howdah.engine.protocol.events import WorkerInfo
from howdah.engine.worker import task_logs as logs
from howdah.engine.worker.process.exits import BROKEN, REFUSED, RESTART_CODE
from howdah.engine.worker.process.supervisor_link import SupervisorLink
from howdah.engine.worker.worker import Worker
from howdah.errors import HowdahError

log = logging.getLogger("howdah.engine.worker")


def run(options: argparse.Namespace, child: SupervisorLink) -> int:
    """Be the worker that `options` describe (see `__main__`); returns the exit code."""
    faulthandler.enable(all_threads=False)  # a task that crashes the process leaves its line in the log
    logging.basicConfig(
        level=os.environ.get("HOWDAH_LOG", "WARNING"),
        format=f"%(asctime)s {options.name} %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    logs.capture_output()
    try:
        with asyncio.Runner(loop_factory=Loop) as runner:
            code = runner.run(_serve(options, child))
    except HowdahError as error:
        log.error("%s", error)
        code = REFUSED
    if code != BROKEN:
        child.report_leaving()
    return RESTART_CODE if code == RESTART else code


RESTART = -1
"""What `Worker.run` returns when the process is to start anew."""

KEPT_SHARE = 16
"""The part of the memory limit that results which have left may keep, of each kind, for those that come."""

KEPT_UNLIMITED = 1 << 30
"""Bytes of it where there is no limit."""


async def _serve(options: argparse.Namespace, child: SupervisorLink) -> int:
    host = options.host or socket.gethostname()
    kept.set_limit(options.memory_limit // KEPT_SHARE or KEPT_UNLIMITED)
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
    certificate, key = child.identity
    if security is not None and certificate:  # its predecessor's, for the scheduler grants only one to a container
        role = role_of_pem(certificate)
        security = dataclasses.replace(security, role=role, certificate=certificate, key=key, join_key=b"")
    worker = Worker(
        info,
        options.scheduler,
        security,
        options.listen or f"tls://{host}:0",
        lease=options.lease,
        memory_limit=options.memory_limit,
        local_dir=options.local_dir,
        died=child.died,
        board=child.status_page,
    )
    worker.on_identity = lambda mine: child.report_identity(mine.certificate, mine.key)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.drain, "it got SIGTERM", options.grace, 0, True)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C is for the client; it ends its workers
    return await worker.run()
