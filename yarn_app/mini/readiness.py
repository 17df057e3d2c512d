"""Whether daemons are ready, from their own JMX and REST; a log line or an open port alone proves nothing.

Nothing here waits, or raises for a daemon that does not answer: such a daemon is not ready.
"""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from typing import Any

from howdah.yarn_app.mini.configuration import current_user
from howdah.yarn_app.mini.settings import MASTER, State, node_address

# The small Hadoop is on this machine: a proxy that the environment names has no part in it.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def why_not_ready(state: State, daemon: str, started: float) -> str:
    """Return "" when the daemon serves and its master lists it; else what is missing, in a few words.

    Parameters
    ----------
    state, daemon
        The small Hadoop, and the name of the daemon.
    started
        When its process started (seconds since 1970). Its master may still count an earlier process of that name as
        alive; only later reports count.
    """
    kind, _, number = daemon.partition("-")
    try:
        if kind == "namenode":
            return _namenode(state)
        if kind == "resourcemanager":
            return _resourcemanager(state)
        if kind == "datanode":
            return _datanode(state, daemon, node_address(int(number)))
        return _nodemanager(state, daemon, node_address(int(number)), started)
    except OSError as error:
        return f"does not answer ({getattr(error, 'reason', error)})"
    except (KeyError, IndexError, ValueError):
        return "answers, but not fully yet"


def web_address(state: State, daemon: str) -> str:
    """Return the http address of a daemon."""
    number = daemon.partition("-")[2]
    host = node_address(int(number)) if daemon.startswith("nodemanager") else MASTER
    return f"http://{host}:{state.ports[daemon]['http']}"


def make_directory(state: State, path: str, permission: str) -> None:
    """Make an HDFS directory (its parents too) with exactly these permissions, as the superuser."""
    for operation in ("MKDIRS", "SETPERMISSION"):
        query = urllib.parse.urlencode({"op": operation, "permission": permission, "user.name": current_user()})
        url = f"{web_address(state, 'namenode')}/webhdfs/v1{urllib.parse.quote(path)}?{query}"
        with _OPENER.open(urllib.request.Request(url, method="PUT"), timeout=30) as answer:
            answer.read()


def _get(url: str) -> Any:
    with _OPENER.open(url, timeout=5) as answer:
        return json.load(answer)


def _bean(state: State, daemon: str, name: str) -> Any:
    query = urllib.parse.urlencode({"qry": f"Hadoop:service={name}"})
    return _get(f"{web_address(state, daemon)}/jmx?{query}")["beans"][0]


def _namenode(state: State) -> str:
    safe_mode: str = _bean(state, "namenode", "NameNode,name=NameNodeInfo")["Safemode"]
    return safe_mode


def _resourcemanager(state: State) -> str:
    info = _get(web_address(state, "resourcemanager") + "/ws/v1/cluster/info")["clusterInfo"]
    return "" if (info["state"], info["haState"]) == ("STARTED", "ACTIVE") else f"{info['state']} {info['haState']}"


def _datanode(state: State, daemon: str, host: str) -> str:
    actors = json.loads(_bean(state, daemon, "DataNode,name=DataNodeInfo")["BPServiceActorInfo"])
    if not actors or any(actor["ActorState"] != "RUNNING" for actor in actors):
        return "has not registered with the NameNode"
    live = json.loads(_bean(state, "namenode", "NameNode,name=NameNodeInfo")["LiveNodes"])
    return "" if f"{host}:{state.ports[daemon]['data']}" in live else "the NameNode does not list it"


def _nodemanager(state: State, daemon: str, host: str, started: float) -> str:
    nodes = _get(web_address(state, "resourcemanager") + "/ws/v1/cluster/nodes")["nodes"]["node"]
    mine = [node for node in nodes if node["id"] == f"{host}:{state.ports[daemon]['rpc']}"]
    if not any(node["lastHealthUpdate"] >= started * 1000 for node in mine):
        return "has not registered with the ResourceManager"
    if any(node["state"] == "RUNNING" for node in mine):
        return ""
    return f"{mine[0]['state']}: {mine[0].get('healthReport') or 'no health report'}"
