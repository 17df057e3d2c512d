"""Block locations over WebHDFS (HTTP), where NameNode RPC is not possible. Standard library only.

For `howdah.io.filesystem.block_locations` alone. `GETFILEBLOCKLOCATIONS` is documented and there since Hadoop 3.2; one
call per file.
SPNEGO is not there yet: a NameNode that wants it raises `NotSupported`.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any

from howdah.errors import NotSupported
from howdah.io.hadoop.config import HadoopConfig, NameNode
from howdah.io.hadoop.records import Block
from howdah.io.hadoop.rpc import RemoteError

ANSWER_SECONDS = 20.0


class WebHdfs:
    """Questions to whichever NameNode is active, over HTTP or HTTPS as `dfs.http.policy` says."""

    def __init__(self, namenodes: Sequence[NameNode], config: HadoopConfig, user: str) -> None:
        self._roots = [f"http://{n.http}" if n.http else f"https://{n.https}" for n in namenodes]
        self._user = user
        self._secure = (config.get("hadoop.security.authentication") or "simple").lower() != "simple"
        # through no proxy: the NameNode is inside, and its address in the environment's proxy rules a rare thing
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def blocks(self, path: str, size: int) -> tuple[Block, ...]:
        """All blocks of a file of `size` bytes.

        Raises
        ------
        NotSupported
            WebHDFS is off, too old, or wants SPNEGO.
        FileNotFoundError, OSError, RuntimeError
            As for any other call to a NameNode.
        """
        if self._secure:
            raise NotSupported("block locations over WebHDFS with SPNEGO are not there yet")
        answer = self._get(path, op="GETFILEBLOCKLOCATIONS", offset=0, length=max(size, 1))
        found = answer.get("BlockLocations", {}).get("BlockLocation", [])
        return tuple(_block(entry) for entry in found)

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        failure: Exception = NotSupported("no NameNode with a web address is configured")
        text = urllib.parse.urlencode({**query, "user.name": self._user})
        for root in self._roots:
            url = f"{root}/webhdfs/v1{urllib.parse.quote(path)}?{text}"
            try:
                with self._opener.open(url, timeout=ANSWER_SECONDS) as response:
                    answer: dict[str, Any] = json.load(response)
                    return answer
            except urllib.error.HTTPError as error:
                failure = _refusal(error)
                if "StandbyException" not in str(failure):
                    raise failure from error
            except urllib.error.URLError as error:
                failure = error.reason if isinstance(error.reason, OSError) else ConnectionError(str(error.reason))
            except json.JSONDecodeError as error:
                raise NotSupported(f"{root}: not a WebHDFS answer: {error}") from error
        raise failure


def _refusal(error: urllib.error.HTTPError) -> Exception:
    try:
        remote = json.load(error)["RemoteException"]
        java_class, message = str(remote["javaClassName"]), str(remote["message"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        return NotSupported(f"{error.url.partition('?')[0]}: HTTP {error.code} {error.reason}: no WebHDFS for us there")
    if java_class == "java.io.FileNotFoundException":
        return FileNotFoundError(message)
    if "Invalid value for webhdfs parameter" in message:
        return NotSupported(f"{error.url.partition('?')[0]}: this Hadoop has no GETFILEBLOCKLOCATIONS")
    return RemoteError(java_class, message.split("\n")[0])


def _block(entry: dict[str, Any]) -> Block:
    racks = [str(path).rpartition("/")[0] for path in entry.get("topologyPaths", ())]
    return Block(
        int(entry["offset"]), int(entry["length"]), tuple(str(h).lower() for h in entry.get("hosts", ())), tuple(racks)
    )  # fmt: skip
