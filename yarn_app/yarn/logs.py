"""The logs of an application's containers: from the nodes while it runs, from YARN's aggregated files afterwards.

For `howdah logs`, `YarnCluster.logs` and error messages. It promises bounded waits, and an error with the reason where
there are no logs.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

from howdah.errors import HowdahError, NotSupported
from howdah.io.hadoop.rest import RestClient
from howdah.yarn_app.yarn.resource_manager import ResourceManager, RestUnavailable, fetch_json

AGGREGATION_SECONDS = 30.0
TEXT_SECONDS = 5.0
_POLL = 0.5


def live_logs(manager: ResourceManager, app_id: str, *, limit: int = 0) -> dict[str, dict[str, str]]:
    """Return container id -> file name -> text of the live containers; `limit`: only so many last bytes of each."""
    found: dict[str, dict[str, str]] = {}
    for container, address in _containers(manager, app_id):
        base = f"http://{address}/ws/v1/node/containers/{container}/logs"
        try:
            rows = fetch_json(manager.rest, [base])
        except HowdahError:  # the container has ended since
            continue
        infos = rows.get("containerLogsInfo") or {}
        listed = infos if isinstance(infos, list) else [infos]
        names = [file["fileName"] for info in listed for file in info.get("containerLogInfo") or []]
        texts = {name: fetch_text(f"{base}/{name}", limit, manager.rest) for name in sorted(names)}
        found[container] = {name: text for name, text in texts.items() if text}
    return found


def _containers(manager: ResourceManager, app_id: str) -> Iterator[tuple[str, str]]:
    """Yield live containers and their nodes' web addresses, from the nodes: the ResourceManager lists few of them."""
    for node in manager.nodes():
        try:
            answer = fetch_json(manager.rest, [f"http://{node.address}/ws/v1/node/containers"])
        except HowdahError:
            continue
        rows = (answer.get("containers") or {}).get("container") or []
        numbers = app_id.removeprefix("application_")
        for row in rows:
            if f"_{numbers}_" in row["id"]:
                yield row["id"], node.address


def fetch_text(url: str, limit: int = 0, rest: RestClient | None = None) -> str:
    """Return one log file over a NodeManager's REST; "" where it cannot be had. `limit`: only so many last bytes."""
    rest = rest or RestClient(seconds=TEXT_SECONDS, use_proxies=True)
    try:
        response = rest.get(
            url, {"size": -limit} if limit else None, accept="text/plain, */*"
        )  # JSON is refused with 406
    except (NotSupported, OSError):
        return ""
    text = response.content.decode(errors="replace") if response.ok else ""
    # The NodeManager puts a head of its own before the text, and a line after it.
    _, mark, body = text.partition("LogContents:\n")
    return body.rpartition("\nEnd of LogType:")[0] if mark else text


def aggregated_logs(app_id: str, *, wait: float = AGGREGATION_SECONDS) -> dict[str, dict[str, str]]:
    """Return container id -> file name -> text of an application that has ended, once YARN has collected the logs.

    Raises
    ------
    HowdahError
        YARN has none: collecting logs is switched off, or they are older than it keeps them.
    """
    deadline = time.monotonic() + wait
    while True:
        try:
            done = subprocess.run(
                ["yarn", "logs", "-applicationId", app_id],
                capture_output=True,
                check=False,
                text=True,
                timeout=60,
                errors="replace",
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HowdahError(f"`yarn logs -applicationId {app_id}` did not work: {error}") from error
        found = parse_aggregated(done.stdout)
        if found or time.monotonic() > deadline:
            break
        time.sleep(_POLL)
    if not found:
        shown = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise HowdahError(f"YARN has no logs of {app_id}: {' '.join(shown) or 'no output'}")
    return found


def parse_aggregated(text: str) -> dict[str, dict[str, str]]:
    """Parse the output of `yarn logs`: container id -> file name -> text.

    >>> parse_aggregated('''Container: container_1_0001_01_000001 on node1_8041
    ... LogAggregationType: AGGREGATED
    ... ====
    ... LogType:driver.out
    ... LogLastModifiedTime:now
    ... LogLength:6
    ... LogContents:
    ... hello
    ...
    ... End of LogType:driver.out
    ... ****
    ... ''')
    {'container_1_0001_01_000001': {'driver.out': 'hello\\n'}}
    """
    found: dict[str, dict[str, str]] = {}
    container = name = ""
    body: list[str] | None = None
    for line in text.splitlines():
        if body is not None and line.startswith(f"End of LogType:{name}"):
            kept = "\n".join(body).rstrip("\n")
            if kept:
                found.setdefault(container, {})[name] = kept + "\n"
            body = None
        elif body is not None:
            body.append(line)
        elif line.startswith("Container: "):
            container = line.split()[1]
        elif line.startswith("LogType:"):
            name = line.removeprefix("LogType:")
        elif line.startswith("LogContents:"):
            body = []
    return found


def container_logs(manager: ResourceManager, app_id: str, *, ended: bool, limit: int = 0) -> dict[str, dict[str, str]]:
    """Return the logs that there are: `aggregated_logs` of an ended application, else `live_logs`."""
    if ended:
        return aggregated_logs(app_id)
    try:
        return live_logs(manager, app_id, limit=limit)
    except RestUnavailable as error:
        raise HowdahError(
            f"the nodes do not show logs over REST here ({error}): they are there when the application ends"
        ) from error
