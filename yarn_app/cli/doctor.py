"""`howdah doctor`: check everything that a submission needs. One line per check, with the remedy where one fails."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import click
import msgspec

from howdah.errors import HadoopNotFound, HowdahError
from howdah.io import load_hadoop_config
from howdah.yarn_app.protocol.config import Versions
from howdah.yarn_app.specification.units import format_memory
from howdah.yarn_app.storage.staging import Staging
from howdah.yarn_app.yarn import edge_node
from howdah.yarn_app.yarn.resource_manager import ResourceManager, RestUnavailable
from howdah.yarn_app.yarn.skein_client import Credentials


class Finding(msgspec.Struct):
    """What was checked, and how it is: `state` is "ok", "warning" or "wrong"."""

    what: str
    state: str
    text: str


@click.command(name="doctor")
@click.option("--queue", default="default", help="The YARN queue to look at.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def command(queue: str, as_json: bool) -> None:
    """Check what howdah needs on this machine and of the cluster. Exit code 1 if something is wrong."""
    wrong = False
    marks = {"ok": click.style("ok     ", fg="green"), "warning": click.style("warning", fg="yellow")}
    for finding in examine(queue):
        wrong |= finding.state == "wrong"
        if as_json:
            click.echo(msgspec.json.encode(finding))
        else:
            click.echo(
                f"{marks.get(finding.state, click.style('wrong  ', fg='red'))} {finding.what:<16} {finding.text}"
            )
    raise SystemExit(1 if wrong else 0)


def examine(queue: str) -> Iterator[Finding]:
    """Yield the findings in order. A check that needs an earlier one is left out when that failed."""
    versions = Versions.current()
    yield Finding("python", "ok", f"howdah {versions.howdah} on Python {versions.python}")
    configured = False
    for what, look in (("configuration", _configuration), ("yarn command", _yarn), ("java", _java), ("skein", _skein)):
        found = _try(what, look)
        configured |= what == "configuration" and found.state == "ok"
        yield found
    if not configured:
        return
    manager = ResourceManager(load_hadoop_config())
    reached = _try("ResourceManager", lambda: _manager(manager))
    yield reached
    if reached.state == "ok":
        yield _try("nodes", lambda: _nodes(manager))
        yield _try("queue", lambda: manager.describe_queue(queue))
    yield _try("HDFS", _hdfs)


def _try(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, "ok", look())
    except RestUnavailable as error:
        return Finding(what, "warning", f"not available over REST: {error}")
    except (HowdahError, OSError) as error:
        return Finding(what, "wrong", str(error))


def _configuration() -> str:
    return f"HADOOP_CONF_DIR is {edge_node.conf_dir()}"


def _yarn() -> str:
    found = shutil.which("yarn")
    if found is None:
        raise HadoopNotFound("not on PATH: add $HADOOP_HOME/bin")
    return found


def _java() -> str:
    major = edge_node.java_major()
    if not edge_node.OLDEST_JAVA <= major <= edge_node.NEWEST_JAVA:
        raise HadoopNotFound(
            f"Java {major}; set JAVA_HOME to one of {edge_node.OLDEST_JAVA} to {edge_node.NEWEST_JAVA}"
        )
    return f"Java {major}"


def _skein() -> str:
    Credentials.new()
    return "can be imported"


def _manager(manager: ResourceManager) -> str:
    manager.check()
    return ", ".join(manager.addresses)


def _nodes(manager: ResourceManager) -> str:
    nodes = manager.nodes()
    if not nodes:
        raise HadoopNotFound("no NodeManager runs: containers cannot start")
    largest = max(node.memory for node in nodes)
    return f"{len(nodes)} run, the largest has {format_memory(largest)} and {max(node.cores for node in nodes)} cores"


def _hdfs() -> str:
    staging = Staging.of_user()
    if not staging.files.exists(staging.home):
        raise HadoopNotFound(
            f"{staging.url(staging.home)} does not exist: "
            f"ask HDFS's administrator for a folder that belongs to {edge_node.user()}"
        )
    return f"{staging.url(staging.home)} is there"
