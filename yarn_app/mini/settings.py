"""The options of a small Hadoop, its ports, and the paths of its files.

Options and ports are chosen at the first start and stored in `mini.json`: clients find a restarted daemon on its old
port. Only `howdah.yarn_app.mini` uses this module.
"""

from __future__ import annotations

import random
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from howdah.errors import InputError, bad_value

_UNITS = {"M": 1, "MB": 1, "MiB": 1, "G": 1024, "GB": 1024, "GiB": 1024}
_MOST_NODES = 100
MASTER = "127.0.0.1"


class MiniOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a small Hadoop. Memory is in MiB, block size in bytes, a queue's share in percent."""

    nodes: int = 2
    racks: bool = False
    memory_per_node: int = 4096
    cores_per_node: int = 4
    replication: int = 1
    block_size: int = 128 * 1024 * 1024
    queues: dict[str, int] = msgspec.field(default_factory=lambda: {"default": 100})

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= _MOST_NODES:
            raise bad_value("nodes", self.nodes, f"from 1 to {_MOST_NODES}")
        if self.memory_per_node < 512:
            raise bad_value("memory_per_node", f"{self.memory_per_node} MiB", "at least 512MiB")
        if self.cores_per_node < 1:
            raise bad_value("cores_per_node", self.cores_per_node, "at least 1")
        if not 1 <= self.replication <= self.nodes:
            raise bad_value("replication", self.replication, f"from 1 to the number of nodes, {self.nodes}")
        if self.block_size < 4096 or self.block_size % 512:
            raise bad_value("block_size", self.block_size, "a multiple of 512 bytes, at least 4096")
        if sum(self.queues.values()) != 100 or min(self.queues.values()) < 1:
            raise bad_value("queues", self.queues, "shares that add up to 100, as in 'default:50,other:50'")
        if "default" not in self.queues:
            raise bad_value("queues", self.queues, "one of them is called 'default', as in 'default:50,other:50'")


class State(msgspec.Struct, frozen=True):
    """The content of `mini.json`."""

    options: MiniOptions
    ports: dict[str, dict[str, int]]
    jars: str
    java: str


@dataclass(frozen=True)
class Layout:
    """The folders and files of one small Hadoop."""

    root: Path

    @property
    def conf(self) -> Path:
        """The clients' Hadoop configuration: HADOOP_CONF_DIR."""
        return self.root / "conf"

    @property
    def bin(self) -> Path:
        """`hdfs`, `yarn` and `hadoop`."""
        return self.root / "bin"

    @property
    def logs(self) -> Path:
        """The daemons' output."""
        return self.root / "logs"

    @property
    def classpath(self) -> Path:
        """What Hadoop expects on its class path and the jars lack (`webapps/`)."""
        return self.root / "classpath"

    @property
    def temporary(self) -> Path:
        """The daemons' temporary files."""
        return self.root / "tmp"

    def daemon_conf(self, daemon: str) -> Path:
        """Return the folder of a daemon's configuration."""
        return self.root / "daemons" / daemon / "conf"

    def data(self, daemon: str) -> Path:
        """Return the folder of a daemon's data."""
        return self.root / "daemons" / daemon / "data"

    def log(self, daemon: str) -> Path:
        """Return the file of a daemon's output."""
        return self.logs / f"{daemon}.log"

    @property
    def state(self) -> Path:
        """The file of the `State`."""
        return self.root / "mini.json"

    def load(self) -> State | None:
        """Return the stored state, or None where no small Hadoop was ever started."""
        try:
            return msgspec.json.decode(self.state.read_bytes(), type=State)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, InputError) as broken:
            raise InputError(f"{self.state}: cannot be read ({broken}): remove {self.root} and start again") from broken

    def save(self, state: State) -> None:
        """Store the state, whole or not at all."""
        new = self.state.with_suffix(".new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=2))
        new.rename(self.state)


def usable_folder(folder: str | Path) -> Path:
    """Return the absolute path; one that Hadoop's own configuration cannot hold (commas, blanks, quotes) is refused.

    >>> usable_folder("/tmp/my hadoop")
    Traceback (most recent call last):
    ...
    howdah.errors.InputError: folder: got '/tmp/my hadoop': Hadoop takes only letters, digits and any of /._+@-
    """
    path = Path(folder).expanduser().absolute()
    if not re.fullmatch(r"[\w/.+@-]+", str(path), re.ASCII):
        raise bad_value("folder", str(path), "Hadoop takes only letters, digits and any of /._+@-")
    return path


def mebibytes(field: str, size: str | int) -> int:
    """Return a size in MiB; a number without a unit is MiB already.

    >>> mebibytes("memory_per_node", "4GiB")
    4096
    >>> mebibytes("memory_per_node", "4 quarts")
    Traceback (most recent call last):
    ...
    howdah.errors.InputError: memory_per_node: got '4 quarts': a number and MiB or GiB, as in '4GiB'
    """
    given = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", str(size).strip())
    unit = _UNITS.get(given[2] or "MiB") if given else None
    if given is None or unit is None:
        raise bad_value(field, size, "a number and MiB or GiB, as in '4GiB'")
    return int(float(given[1]) * unit)


def shares(text: str) -> dict[str, int]:
    """Return queues and their shares from the form of the command line.

    >>> shares("default:60,other:40")
    {'default': 60, 'other': 40}
    >>> shares("default=60")
    Traceback (most recent call last):
    ...
    howdah.errors.InputError: queues: got 'default=60': names and percents, as in 'default:50,other:50'
    """
    found = {}
    for entry in text.split(","):
        given = re.fullmatch(r"\s*([\w-]+)\s*:\s*(\d+)\s*", entry, re.ASCII)
        if given is None:
            raise bad_value("queues", text, "names and percents, as in 'default:50,other:50'")
        found[given[1]] = int(given[2])
    return found


def node_address(index: int) -> str:
    """Return the address of node `index`, counted from 1.

    >>> node_address(1)
    '127.0.0.2'
    """
    return f"127.0.0.{index + 1}"


def daemon_names(nodes: int) -> list[str]:
    """Return the names of all daemons of a small Hadoop with `nodes` nodes.

    >>> daemon_names(1)
    ['namenode', 'datanode-1', 'resourcemanager', 'nodemanager-1']
    """
    numbers = range(1, nodes + 1)
    return [
        "namenode",
        *(f"datanode-{n}" for n in numbers),
        "resourcemanager",
        *(f"nodemanager-{n}" for n in numbers),
    ]


_PORTS = {
    "namenode": ("rpc", "http"),
    "datanode": ("data", "http", "ipc"),
    "resourcemanager": ("rpc", "scheduler", "tracker", "admin", "http"),
    "nodemanager": ("rpc", "localizer", "http"),
}


def choose_ports(nodes: int, kept: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Return ports for every daemon: the kept ones as they are, free ones for the rest."""
    free = _free_ports({port for ports in kept.values() for port in ports.values()})
    return {
        daemon: kept.get(daemon) or {use: next(free) for use in _PORTS[daemon.split("-")[0]]}
        for daemon in daemon_names(nodes)
    }


def _free_ports(taken: set[int]) -> Iterator[int]:
    # Under the kernel's ephemeral range (32768 and up): while a daemon is down no outgoing connection can be given
    # its port. One number is used once over all addresses, so that a port in a message names one service.
    for port in random.sample(range(15000, 32000), 17000):
        if port not in taken and _is_free(port):
            yield port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
