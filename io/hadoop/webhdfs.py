"""Block locations over WebHDFS (HTTP), where NameNode RPC is not possible.

For `howdah.io.filesystem.block_locations` alone. `GETFILEBLOCKLOCATIONS` is documented and there since Hadoop 3.2; one
call per file. A cluster with Kerberos is reached with SPNEGO (`rest`, and the `kerberos` extra).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from howdah.errors import NotSupported
from howdah.io.hadoop.config import HadoopConfig, NameNode
from howdah.io.hadoop.records import Block
from howdah.io.hadoop.rest import RestClient
from howdah.io.hadoop.rpc import RemoteError

if TYPE_CHECKING:
    import requests

ANSWER_SECONDS = 20.0


class WebHdfs:
    """Requests to the active one of some NameNodes, over HTTP or HTTPS as `dfs.http.policy` says.

    Parameters
    ----------
    namenodes
        The NameNodes of one file system.
    config
        Hadoop's configuration.
    user
        The user's name, which a cluster without Kerberos believes.
    """

    def __init__(self, namenodes: Sequence[NameNode], config: HadoopConfig, user: str) -> None:
        self._roots = [f"http://{n.http}" if n.http else f"https://{n.https}" for n in namenodes]
        secure = (config.get("hadoop.security.authentication") or "simple").lower() != "simple"
        self._identity = {} if secure else {"user.name": user}
        # through no proxy: the NameNode is inside, and its address in the environment's proxy rules a rare thing
        self._rest = RestClient(seconds=ANSWER_SECONDS)

    def blocks(self, path: str, size: int) -> tuple[Block, ...]:
        """Return all blocks of a file of `size` bytes.

        Raises
        ------
        NotSupported
            WebHDFS is off, too old, or refuses us.
        FileNotFoundError, OSError, RuntimeError
            As for any other call to a NameNode.
        """
        answer = self._get(path, op="GETFILEBLOCKLOCATIONS", offset=0, length=max(size, 1))
        found = answer.get("BlockLocations", {}).get("BlockLocation", [])
        return tuple(_block(entry) for entry in found)

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        failure: Exception = NotSupported("no NameNode with a web address is configured")
        for root in self._roots:
            try:
                response = self._rest.get(f"{root}/webhdfs/v1{quote(path)}", {**query, **self._identity})
            except OSError as error:
                failure = error
                continue
            if not response.ok:
                failure = _refusal(root, response)
                if "StandbyException" not in str(failure):
                    raise failure
                continue
            try:
                answer: dict[str, Any] = json.loads(response.content)
                return answer
            except ValueError as error:
                raise NotSupported(f"{root}: not a WebHDFS answer: {error}") from error
        raise failure


def _refusal(root: str, response: requests.Response) -> Exception:
    """Return the error of a response that is no success: the Java exception in it, where there is one."""
    try:
        remote = json.loads(response.content)["RemoteException"]
        java_class, message = str(remote["javaClassName"]), str(remote["message"])
    except (ValueError, KeyError, TypeError):
        return NotSupported(f"{root}: HTTP {response.status_code} {response.reason}: no WebHDFS for us there")
    if java_class == "java.io.FileNotFoundException":
        return FileNotFoundError(message)
    if "Invalid value for webhdfs parameter" in message:
        return NotSupported(f"{root}: this Hadoop has no GETFILEBLOCKLOCATIONS")
    return RemoteError(java_class, message.split("\n")[0])


def _block(entry: dict[str, Any]) -> Block:
    racks = [str(path).rpartition("/")[0] for path in entry.get("topologyPaths", ())]
    hosts = tuple(str(host).lower() for host in entry.get("hosts", ()))
    return Block(int(entry["offset"]), int(entry["length"]), hosts, tuple(racks))
