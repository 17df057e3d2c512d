"""MiniHadoop: a real Hadoop on this machine, one process for each daemon.

For tests (a context manager over a temporary folder) and for `howdah mini` (a folder that is kept). It promises: ready
means that every daemon reports so; an error names the daemon and has the end of its log; after `stop`, or an error in
`start`, no process is left, neither a daemon nor a container.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

import psutil

from howdah.errors import DeadlineExceeded, HadoopNotFound, HowdahError, InputError, bad_value, near
from howdah.yarn_app.mini.configuration import current_user, write_configuration
from howdah.yarn_app.mini.daemons import DaemonFailed, format_namenode, spawn, tail
from howdah.yarn_app.mini.jars import ensure_jars, hadoop_version, jars_are_here
from howdah.yarn_app.mini.java import ensure_java
from howdah.yarn_app.mini.processes import containers_of, daemons_of, end, is_gone
from howdah.yarn_app.mini.readiness import make_directory, web_address, why_not_ready
from howdah.yarn_app.mini.settings import (
    Layout,
    MiniOptions,
    State,
    choose_ports,
    daemon_names,
    mebibytes,
    shares,
    usable_folder,
)

Progress = Callable[[str, str], None]
"""Called with (phase or daemon, what happened)."""

_POLL = 0.1  # seconds between two requests to the daemons
_DEADLINE = 180.0  # seconds; 10 are usual on 2 cores


class AlreadyRunning(HowdahError):
    """A small Hadoop lives in that folder already. Use it, or stop it first."""


class MiniHadoop:
    """A real, small Hadoop: NameNode, ResourceManager, and `nodes` times a DataNode and a NodeManager.

    Node i is 127.0.0.(i+1), for HDFS's block locations and for YARN alike.

    Parameters
    ----------
    folder
        Where all of its state lies. Data and ports survive a stop. None: a temporary folder, removed at `stop`; its
        daemons end with this process, however it ends.
    nodes
        Number of nodes (default 2). A kept folder's number may grow and not shrink.
    racks
        Put each node on a rack of its own, /rack-1, /rack-2, ... (default: all on /default-rack).
    memory_per_node, cores_per_node
        What each NodeManager offers: "4GiB" and 4; also the largest container.
    replication
        Replicas of a block (default 1, so that each block has one place).
    block_size
        Bytes in a block (default 128 MiB).
    queues
        YARN's queues and the percent of the cluster that each is sure of (default {"default": 100}), or as text,
        "default:50,other:50". Each may use what the others leave idle; with several of them YARN takes it back by
        preemption within seconds.
    progress
        Called with (phase or daemon, text) when something got ready.

    An option that is None is what the folder was last started with, else the default.

    Raises
    ------
    InputError
        An option's value cannot be.

    Examples
    --------
    >>> with MiniHadoop(nodes=2) as hadoop:                                         # doctest: +SKIP
    ...     subprocess.run(["hdfs", "dfs", "-ls", "/"], env=os.environ | hadoop.env())
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        nodes: int | None = None,
        racks: bool | None = None,
        memory_per_node: str | int | None = None,
        cores_per_node: int | None = None,
        replication: int | None = None,
        block_size: int | None = None,
        queues: str | Mapping[str, int] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.temporary = folder is None
        fresh = Path(tempfile.gettempdir(), f"howdah-mini-{secrets.token_hex(6)}")
        self._layout = Layout(usable_folder(folder or fresh))
        self._given = {
            "nodes": nodes,
            "racks": racks,
            "memory_per_node": None if memory_per_node is None else mebibytes("memory_per_node", memory_per_node),
            "cores_per_node": cores_per_node,
            "replication": replication,
            "block_size": block_size,
            "queues": None if queues is None else shares(queues) if isinstance(queues, str) else dict(queues),
        }
        self._progress = progress or (lambda phase, text: None)
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    # -- what it is

    @property
    def folder(self) -> Path:
        """The folder of its state."""
        return self._layout.root

    @property
    def conf_dir(self) -> Path:
        """The clients' HADOOP_CONF_DIR."""
        return self._layout.conf

    @property
    def options(self) -> MiniOptions:
        """The options of the last start."""
        return self._state.options

    @property
    def namenode_url(self) -> str:
        """The NameNode's http address: WebHDFS and JMX."""
        return web_address(self._state, "namenode")

    @property
    def resourcemanager_url(self) -> str:
        """The ResourceManager's http address: REST and the applications' pages."""
        return web_address(self._state, "resourcemanager")

    @property
    def default_fs(self) -> str:
        """`hdfs://127.0.0.1:<port>`."""
        return f"hdfs://127.0.0.1:{self._state.ports['namenode']['rpc']}"

    @property
    def daemons(self) -> dict[str, psutil.Process | None]:
        """Every daemon by name, and its process, None for one that does not live."""
        self._reap()
        alive = daemons_of(self.folder)
        return {name: alive.get(name) for name in daemon_names(self.options.nodes)}

    def env(self) -> dict[str, str]:
        """Return a client's environment variables: HADOOP_CONF_DIR, JAVA_HOME and a PATH with `hdfs` and `yarn`."""
        path = os.environ.get("PATH", os.defpath).split(os.pathsep)
        rest = [entry for entry in path if entry != str(self._layout.bin)]
        return {
            "HADOOP_CONF_DIR": str(self.conf_dir),
            "JAVA_HOME": self._state.java,
            "PATH": os.pathsep.join([str(self._layout.bin), *rest]),
        }

    def web_address(self, daemon: str) -> str:
        """Return the http address of one daemon."""
        return web_address(self._state, self._known(daemon))

    def log_tail(self, daemon: str, lines: int = 25) -> str:
        """Return the end of a daemon's log."""
        return tail(self._layout.log(self._known(daemon)), lines)

    def is_ready(self, daemon: str) -> bool:
        """Whether a daemon lives and reports that it serves."""
        process = self.daemons[self._known(daemon)]
        return process is not None and not why_not_ready(self._state, daemon, _started(process))

    # -- start and stop

    def __enter__(self) -> MiniHadoop:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start every daemon, all at once, and return when each reports that it is ready.

        The first start fetches the jars and formats HDFS. Processes that a crashed Hadoop left running are ended first.

        Raises
        ------
        AlreadyRunning
            A daemon of this folder lives.
        HadoopNotFound
            No Java 11 to 21, or no Maven to fetch the jars with.
        DaemonFailed
            A daemon ended, or was not ready in time. All others are stopped again.
        """
        try:
            with self._exclusive():
                self._refuse_running()
                end(containers_of(self.folder), grace=0)
                state = self.prepare()
                try:
                    self._start_all(state)
                except BaseException:
                    self._end_all(grace=0)
                    raise
        except BaseException:
            self._remove_if_temporary()
            raise

    def stop(self) -> int:
        """End every daemon and container; return when none is left. Stopping a stopped one does nothing.

        A kept folder keeps its HDFS; a temporary one is removed. Returns how many daemons ran.
        """
        ended = 0
        if self.folder.exists() or daemons_of(self.folder):
            with self._exclusive():
                ended = self._end_all(grace=0 if self.temporary else 10)
        self._remove_if_temporary()
        return ended

    def kill(self, daemon: str, *, containers: bool = False) -> None:
        """Kill one daemon (SIGKILL), as a crash would; returns when it is gone. Killing a dead one does nothing.

        With `containers`, also what a NodeManager runs, as a power cut would.
        """
        process = self.daemons[self._known(daemon)]
        if process is not None:
            end([process], grace=0)
        if containers:
            end(containers_of(self.folder, daemon), grace=0)
        self._reap()

    def restart(self, daemon: str) -> None:
        """Start one daemon, ended before if it lives; returns when it and those that report to it are ready.

        What an ended NodeManager left running is ended too: it could not take its containers back. Running
        applications outlive a restart of the ResourceManager, and all files one of the NameNode.
        """
        with self._exclusive():
            process = self.daemons[self._known(daemon)]
            if process is not None:
                end([process], grace=10)
            if daemon.startswith("nodemanager"):
                end(containers_of(self.folder, daemon), grace=0)
            self._reap()
            self._children[daemon] = spawn(self._layout, self._state, daemon, dies_with_parent=self.temporary)
            reporters = {"namenode": "datanode", "resourcemanager": "nodemanager"}.get(daemon)
            alive = [name for name, found in self.daemons.items() if found is not None]
            self._await_ready([daemon, *(name for name in alive if reporters and name.startswith(reporters))])

    # -- how

    @property
    def _state(self) -> State:
        state = self._layout.load()
        if state is None:
            raise HadoopNotFound(f"no small Hadoop was ever started in {self.folder}: run `howdah mini start`")
        return state

    def _known(self, daemon: str) -> str:
        names = daemon_names(self.options.nodes)
        if daemon not in names:
            raise bad_value("daemon", daemon, near(daemon, names))
        return daemon

    def _refuse_running(self) -> None:
        alive = daemons_of(self.folder)
        if not alive:
            return
        dead = [name for name in daemon_names(self.options.nodes) if name not in alive]
        where = "" if self.folder == default_folder() else f" --folder {self.folder}"
        what = f"its {', '.join(dead)} died: `howdah mini restart {dead[0]}{where}`, or" if dead else "use it, or"
        raise AlreadyRunning(
            f"a small Hadoop runs already in {self.folder} ({len(alive)} daemons): {what} end it with "
            f"`howdah mini stop{where}`"
        )

    def prepare(self) -> State:
        """Fetch the jars, store options, ports and configuration; return what was stored. `start` begins with it."""
        kept = self._layout.load()
        base = {name: getattr(kept.options, name) for name in MiniOptions.__struct_fields__} if kept else {}
        options = MiniOptions(**{**base, **{name: value for name, value in self._given.items() if value is not None}})
        if kept and options.nodes < kept.options.nodes:
            raise InputError(
                f"nodes: got {options.nodes}: the HDFS in {self.folder} lies on {kept.options.nodes} nodes and would "
                "lose blocks; give at least as many, or another --folder"
            )
        java = ensure_java()
        began = time.monotonic()
        if not jars_are_here():
            self._progress("jars", f"fetching Hadoop {hadoop_version()} from Maven Central (89 MB)")
        jars = ensure_jars()
        if time.monotonic() - began > 1:
            self._progress("jars", f"in {jars}, {time.monotonic() - began:.0f} s")
        ports = choose_ports(options.nodes, kept.ports if kept else {})
        state = State(options, ports, str(jars), str(java))
        for needed in (self._layout.logs, self._layout.temporary):
            needed.mkdir(parents=True, exist_ok=True)
        self._layout.save(state)
        write_configuration(self._layout, state)
        return state

    def _start_all(self, state: State) -> None:
        names = daemon_names(state.options.nodes)
        # Earlier applications ended with their containers: the ResourceManager must not wait for them to come back.
        shutil.rmtree(self._layout.data("resourcemanager"), ignore_errors=True)
        for daemon in names[1:]:  # they start while HDFS is formatted, and retry until the NameNode is there
            self._children[daemon] = spawn(self._layout, state, daemon, dies_with_parent=self.temporary)
        format_namenode(self._layout, state)
        self._children["namenode"] = spawn(self._layout, state, "namenode", dies_with_parent=self.temporary)
        self._await_ready(names)
        make_directory(state, "/tmp", "1777")
        make_directory(state, f"/user/{current_user()}", "755")

    def _await_ready(self, names: Iterable[str]) -> None:
        state, waiting, begun = self._state, list(names), time.monotonic()
        # Own children by their pid: while a process becomes Java its command line can be empty for a moment.
        children = {
            name: psutil.Process(child.pid) for name, child in self._children.items() if child.returncode is None
        }
        processes = daemons_of(self.folder) | children
        while waiting:
            seconds = time.monotonic() - begun
            missing = {}
            for daemon in waiting:
                process = processes.get(daemon)
                if process is None or is_gone(process):
                    child = self._children.get(daemon)
                    code = f" with exit code {child.wait(10)}" if child else ""
                    raise DaemonFailed(f"{daemon} ended{code}; {tail(self._layout.log(daemon))}")
                missing[daemon] = why_not_ready(state, daemon, _started(process))
            for daemon, what in missing.items():
                if what and seconds > _DEADLINE:
                    log = tail(self._layout.log(daemon))
                    raise DaemonFailed(f"{daemon} is not ready after {seconds:.0f} s: {what}; {log}")
                if not what:
                    self._progress(daemon, f"ready after {seconds:.1f} s at {web_address(state, daemon)}")
            waiting = [daemon for daemon, what in missing.items() if what]
            if waiting:
                time.sleep(_POLL)

    def _end_all(self, grace: float) -> int:
        # NodeManagers first: while they end their containers they still talk to HDFS.
        alive = daemons_of(self.folder)
        end([process for name, process in alive.items() if name.startswith("nodemanager")], grace)
        end(alive.values(), grace)
        end(containers_of(self.folder), grace=0)
        self._reap()
        return len(alive)

    def _reap(self) -> None:
        """Collect the exit codes of children that ended, so that no zombie stays."""
        self._children = {name: child for name, child in self._children.items() if child.poll() is None}

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One start, stop or restart at a time on a folder, over all processes."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.folder / "lock", "w") as lock:
            deadline = time.monotonic() + _DEADLINE
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise DeadlineExceeded(
                            f"another process starts or stops the small Hadoop in {self.folder}"
                        ) from None
                    time.sleep(_POLL)
            yield

    def _remove_if_temporary(self) -> None:
        if self.temporary:
            shutil.rmtree(self.folder, ignore_errors=True)


def _started(process: psutil.Process) -> float:
    """Return the earliest time of its start: the kernel has it in whole seconds only."""
    return process.create_time() - 2


def default_folder() -> Path:
    """Return where `howdah mini` keeps its Hadoop: ~/.howdah/mini."""
    return Path.home() / ".howdah" / "mini"
