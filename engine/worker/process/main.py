"""A worker's process, from its options to its exit code: logging, signals, identity. Called by `__main__` alone."""

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
from howdah.engine.comm.data import buffer_pool
from howdah.engine.comm.security.certificates import Security, role_of_pem
from howdah.engine.coordination.actor_host import serve_actors
from howdah.engine.coordination.worker_context import set_current_worker
from howdah.engine.protocol.events import WorkerInfo
from howdah.engine.worker import task_logs
from howdah.engine.worker.exits import BROKEN, LEFT, REFUSED
from howdah.engine.worker.process.supervisor_link import SupervisorLink
from howdah.engine.worker.worker import Worker
from howdah.errors import HowdahError

log = logging.getLogger("howdah.engine.worker")

POOL_SHARE = 16
"""The part of the memory limit that each buffer pool may keep, as a divisor."""

POOL_BYTES = 1 << 30
"""Bytes that each buffer pool may keep where there is no memory limit."""


def run(options: argparse.Namespace, link: SupervisorLink) -> int:
    """Run the worker that `options` describe (see `__main__`); returns the exit code."""
    faulthandler.enable(all_threads=False)  # a task that crashes the process leaves its line in the log
    logging.basicConfig(
        level=os.environ.get("HOWDAH_LOG", "WARNING"),
        format=f"%(asctime)s {options.name} %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    task_logs.capture_output()
    try:
        with asyncio.Runner(loop_factory=Loop) as runner:
            code = runner.run(_serve(options, link))
    except HowdahError as error:
        log.error("%s", error)
        code = REFUSED
    if code != BROKEN:
        link.report_leaving()
    return code


async def _serve(options: argparse.Namespace, link: SupervisorLink) -> int:
    host = options.host or socket.gethostname()
    buffer_pool.set_limit(options.memory_limit // POOL_SHARE or POOL_BYTES)
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
    certificate, key = link.identity
    if security is not None and certificate:  # its predecessor's: the scheduler grants one to a container
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
        died=link.died,
        status_page=link.status_page,
        handlers={"actor": serve_actors},
    )
    worker.on_identity = lambda granted: link.report_identity(granted.certificate, granted.key)
    worker.on_listening = lambda it: set_current_worker(it.info, it.scheduler, it.security)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.drain, "it got SIGTERM", options.grace, LEFT, True)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C is for the client; it ends its workers
    return await worker.run()
