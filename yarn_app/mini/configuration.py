"""Writes the Hadoop configuration of the clients and of every daemon, and the `hdfs`, `yarn` and `hadoop` commands.

Rewritten at every start from the options and ports: edits in these folders are lost. The reason for each value that is
not Hadoop's default stands beside it.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from howdah.yarn_app.mini.jars import QUICK_CLASS, QUICK_JAR
from howdah.yarn_app.mini.settings import MASTER, Layout, State, daemon_names, node_address

Properties = Mapping[str, object]
_YARN = "org.apache.hadoop.yarn."
TEMPLATES = Path(__file__).with_name("templates")


def current_user() -> str:
    """Return the user that the daemons run as: HDFS's superuser."""
    return pwd.getpwuid(os.geteuid()).pw_name


def write_configuration(layout: Layout, state: State) -> None:
    """Write the clients' `conf/`, every daemon's `daemons/<name>/conf/`, `bin/` and `classpath/`."""
    _write_folder(layout, state, layout.conf, {}, {}, "client")
    for daemon in daemon_names(state.options.nodes):
        hdfs, yarn = daemon_properties(layout, state, daemon)
        _write_folder(layout, state, layout.daemon_conf(daemon), hdfs, yarn, "daemon")
    for webapp in ("hdfs", "datanode"):
        # The HTTP servers refuse to start without these; they hold the old UI, which WebHDFS and JMX do not need.
        (layout.classpath / "webapps" / webapp / "WEB-INF").mkdir(parents=True, exist_ok=True)
        (layout.classpath / "webapps" / webapp / "WEB-INF" / "web.xml").write_text("<web-app/>\n")
    _write_commands(layout, state)


def _write_folder(layout: Layout, state: State, folder: Path, hdfs: Properties, yarn: Properties, role: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "core-site.xml").write_text(site(core_properties(layout, state)))
    (folder / "hdfs-site.xml").write_text(site({**hdfs_properties(state), **hdfs}))
    (folder / "yarn-site.xml").write_text(site({**yarn_properties(layout, state), **yarn}))
    (folder / "capacity-scheduler.xml").write_text(site(scheduler_properties(state)))
    (folder / "log4j.properties").write_text((TEMPLATES / f"log4j-{role}.properties").read_text())
    if state.options.racks:
        rows = "".join(f"{node_address(n)} /rack-{n}\n" for n in range(1, state.options.nodes + 1))
        (layout.conf / "racks.txt").write_text(rows)


def site(properties: Properties) -> str:
    """Return the text of a Hadoop configuration file.

    >>> print(site({"fs.defaultFS": "hdfs://127.0.0.1:8020"}))
    <?xml version="1.0" encoding="UTF-8"?>
    <configuration>
      <property><name>fs.defaultFS</name><value>hdfs://127.0.0.1:8020</value></property>
    </configuration>
    <BLANKLINE>
    """
    rows = "".join(
        f"  <property><name>{escape(name)}</name><value>{escape(_text(value))}</value></property>\n"
        for name, value in properties.items()
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<configuration>\n{rows}</configuration>\n'


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def core_properties(layout: Layout, state: State) -> Properties:
    """Return core-site.xml's properties."""
    racks: Properties = {
        # The raw form is called with host names; the cached one with addresses, and every DataNode's is 127.0.0.1 here.
        "net.topology.node.switch.mapping.impl": "org.apache.hadoop.net.TableMapping$RawTableMapping",
        "net.topology.table.file.name": layout.conf / "racks.txt",
    }
    return {
        "fs.defaultFS": f"hdfs://{MASTER}:{state.ports['namenode']['rpc']}",
        "hadoop.tmp.dir": layout.temporary,
        "hadoop.http.staticuser.user": current_user(),
        # Daemons start together and wait for one another: retry often, for 20 s (default: every second, for 10 s).
        "ipc.client.connect.retry.interval": 200,
        "ipc.client.connect.max.retries": 100,
        **(racks if state.options.racks else {}),
    }


def hdfs_properties(state: State) -> Properties:
    """Return hdfs-site.xml's properties for all processes."""
    ports = state.ports["namenode"]
    return {
        "dfs.namenode.rpc-address": f"{MASTER}:{ports['rpc']}",
        "dfs.namenode.http-address": f"{MASTER}:{ports['http']}",
        "dfs.replication": state.options.replication,
        "dfs.blocksize": state.options.block_size,
        "dfs.namenode.fs-limits.min-block-size": 4096,
        # A DataNode has its NodeManager's host name, so that locations name YARN's nodes; clients connect by address.
        "dfs.client.use.datanode.hostname": False,
        "dfs.namenode.datanode.registration.ip-hostname-check": False,
        # With as many replicas as nodes there is no other DataNode to go to when one dies during a write.
        "dfs.client.block.write.replace-datanode-on-failure.policy": "NEVER",
        # A dead DataNode is stale after 5 s and dead after 2 * 1 s + 10 * 1 s (default: 10.5 minutes).
        "dfs.heartbeat.interval": 1,
        "dfs.namenode.heartbeat.recheck-interval": 1000,
        "dfs.namenode.stale.datanode.interval": 5000,
        "dfs.namenode.avoid.read.stale.datanode": True,
        "dfs.namenode.redundancy.interval.seconds": "1s",
        "dfs.namenode.safemode.extension": 0,
        "dfs.blockreport.initialDelay": "0s",
        "dfs.namenode.handler.count": 8,
        "dfs.datanode.handler.count": 4,
    }


def yarn_properties(layout: Layout, state: State) -> Properties:
    """Return yarn-site.xml's properties for all processes."""
    options, ports = state.options, state.ports["resourcemanager"]
    return {
        "yarn.resourcemanager.hostname": MASTER,
        "yarn.resourcemanager.address": f"{MASTER}:{ports['rpc']}",
        "yarn.resourcemanager.scheduler.address": f"{MASTER}:{ports['scheduler']}",
        "yarn.resourcemanager.resource-tracker.address": f"{MASTER}:{ports['tracker']}",
        "yarn.resourcemanager.admin.address": f"{MASTER}:{ports['admin']}",
        "yarn.resourcemanager.webapp.address": f"{MASTER}:{ports['http']}",
        "yarn.application.classpath": f"{layout.conf},{state.jars}/*",
        "yarn.scheduler.minimum-allocation-mb": 128,
        "yarn.scheduler.maximum-allocation-mb": options.memory_per_node,
        "yarn.scheduler.maximum-allocation-vcores": options.cores_per_node,
        "yarn.nodemanager.resource.memory-mb": options.memory_per_node,
        "yarn.nodemanager.resource.cpu-vcores": options.cores_per_node,
        # Without cgroups the check of a container's memory does nothing unless `enforced` is off (Hadoop 3.4.1).
        "yarn.nodemanager.pmem-check-enabled": True,
        "yarn.nodemanager.vmem-check-enabled": False,
        "yarn.nodemanager.resource.memory.enforced": False,
        "yarn.nodemanager.container-monitor.interval-ms": 1000,
        "yarn.log-aggregation-enable": True,
        "yarn.nodemanager.remote-app-log-dir": "/tmp/logs",
        "yarn.nodemanager.delete.debug-delay-sec": 0,
        # Else each container starts with a `find` over the whole unpacked environment, for its log.
        "yarn.nodemanager.log-container-debug-info.enabled": False,
        # A nearly full disk would make every node unhealthy, and applications would wait in ACCEPTED for ever.
        "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": 99.9,
        "yarn.nodemanager.localizer.cache.target-size-mb": 5120,
        "yarn.resourcemanager.nodemanagers.heartbeat-interval-ms": 200,
        "yarn.nm.liveness-monitor.expiry-interval-ms": 15000,
        "yarn.am.liveness-monitor.expiry-interval-ms": 60000,
        "yarn.nodemanager.sleep-delay-before-sigkill.ms": 250,
        # How long clients, masters and NodeManagers try to connect (defaults: 15 minutes, every 30 s).
        "yarn.resourcemanager.connect.max-wait.ms": 30000,
        "yarn.resourcemanager.connect.retry-interval.ms": 500,
        "yarn.client.nodemanager-connect.max-wait-ms": 10000,
        "yarn.client.nodemanager-connect.retry-interval-ms": 500,
        "yarn.nodemanager.resourcemanager.connect.max-wait.ms": 900000,
        "yarn.nodemanager.resourcemanager.connect.retry-interval.ms": 250,
        **(PREEMPTION if len(options.queues) > 1 else {}),
    }


_PREEMPTION = "yarn.resourcemanager.monitor.capacity.preemption."
PREEMPTION: Properties = {
    "yarn.resourcemanager.scheduler.monitor.enable": True,
    "yarn.resourcemanager.scheduler.monitor.policies": (
        _YARN + "server.resourcemanager.monitor.capacity.ProportionalCapacityPreemptionPolicy"
    ),
    # A queue that is below its share gets it within about 2 s (defaults: check every 3 s, kill after 15 s, at most a
    # tenth of the cluster each time, a fifth of what is missing, and none of the last tenth).
    _PREEMPTION + "monitoring_interval": 500,
    _PREEMPTION + "max_wait_before_kill": 1000,
    _PREEMPTION + "total_preemption_per_round": 1.0,
    _PREEMPTION + "natural_termination_factor": 1.0,
    _PREEMPTION + "max_ignored_over_capacity": 0.0,
}


def scheduler_properties(state: State) -> Properties:
    """Return the capacity scheduler's properties: the queues and their shares."""
    queues = state.options.queues
    shared: dict[str, object] = {}
    for queue, share in queues.items():
        name = f"yarn.scheduler.capacity.root.{queue}."
        # One user may use a whole queue and what the others leave idle (default: no more than the queue's own share).
        shared |= {name + "capacity": share, name + "maximum-capacity": 100, name + "user-limit-factor": 100}
    return {
        "yarn.scheduler.capacity.root.queues": ",".join(queues),
        **shared,
        "yarn.scheduler.capacity.maximum-am-resource-percent": 0.8,
        # Count cores as well as memory (the default calculator ignores them and reports 1).
        "yarn.scheduler.capacity.resource-calculator": _YARN + "util.resource.DominantResourceCalculator",
        # Heartbeats that a request waits for its own node: about a second, every node coming by each 200 ms.
        "yarn.scheduler.capacity.node-locality-delay": 5 * state.options.nodes,
    }


def daemon_properties(layout: Layout, state: State, daemon: str) -> tuple[Properties, Properties]:
    """Return the additional properties of one daemon: hdfs-site.xml's, and yarn-site.xml's."""
    kind, _, number = daemon.partition("-")
    ports, data = state.ports[daemon], layout.data(daemon)
    if kind == "namenode":
        return {"dfs.namenode.name.dir": f"file://{data}"}, {}
    if kind == "datanode":
        # The NameNode distinguishes DataNodes by address and port, and the address of all is 127.0.0.1.
        hdfs = {
            "dfs.datanode.data.dir": f"file://{data}",
            "dfs.datanode.hostname": node_address(int(number)),
            "dfs.datanode.address": f"{MASTER}:{ports['data']}",
            "dfs.datanode.http.address": f"{MASTER}:{ports['http']}",
            "dfs.datanode.ipc.address": f"{MASTER}:{ports['ipc']}",
        }
        return hdfs, {}
    if kind == "nodemanager":
        host = node_address(int(number))
        yarn = {
            "yarn.nodemanager.hostname": host,
            "yarn.nodemanager.bind-host": host,
            "yarn.nodemanager.address": f"{host}:{ports['rpc']}",
            "yarn.nodemanager.localizer.address": f"{host}:{ports['localizer']}",
            "yarn.nodemanager.webapp.address": f"{host}:{ports['http']}",
            "yarn.nodemanager.local-dirs": data / "local",
            "yarn.nodemanager.log-dirs": data / "logs",
            **({"fs.AbstractFileSystem.file.impl": QUICK_CLASS} if (Path(state.jars) / QUICK_JAR).exists() else {}),
        }
        return {}, yarn
    # A ResourceManager that is restarted takes back its running applications.
    return {}, {
        "yarn.resourcemanager.recovery.enabled": True,
        "yarn.resourcemanager.store.class": _YARN + "server.resourcemanager.recovery.FileSystemRMStateStore",
        "yarn.resourcemanager.fs.state-store.uri": f"file://{data}",
        "yarn.resourcemanager.work-preserving-recovery.scheduling-wait-ms": 1000,
    }


def _write_commands(layout: Layout, state: State) -> None:
    layout.bin.mkdir(parents=True, exist_ok=True)
    text = (TEMPLATES / "hadoop.sh").read_text()
    for mark, value in {"@CONF@": str(layout.conf), "@JARS@": state.jars, "@JAVA@": state.java}.items():
        text = text.replace(mark, value)
    for command in ("hadoop", "hdfs", "yarn"):
        new = layout.bin / f".{command}"
        new.write_text(text)
        new.chmod(0o755)
        new.rename(layout.bin / command)
