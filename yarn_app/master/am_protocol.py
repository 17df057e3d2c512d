"""Report the end of the application to the ResourceManager, in whatever attempt the master is.

skein's application master does so only after a success or in the last attempt: an application that failed or was
stopped would be started once more. So the master makes one call by itself:
`ApplicationMasterProtocol.finishApplicationMaster` over `howdah.io.hadoop.rpc`, with the token that YARN gave to the
container. For `master` alone. It never raises: where the call is not possible (RPC that is encrypted, a token that was
replaced after a day) it returns False, and the next attempt ends the application (`attempts`). The wire format:
Hadoop's `yarn_service_protos.proto`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from howdah.backoff import delays
from howdah.errors import NotSupported, PeerRefused
from howdah.io.hadoop.protobuf import encode
from howdah.io.hadoop.rpc import RemoteError, RpcConnection, SaslAuthentication
from howdah.io.hadoop.sasl import DigestMd5
from howdah.io.hadoop.tokens import Token, find_token

RETRY_SECONDS = 10.0
"""For how long a ResourceManager that answers is called again: one that has just started may not have this master in
its records yet."""

UNREACHABLE_SECONDS = 30.0
"""For how long one that does not answer is tried: it is being restarted. The next attempt, which reports the end again,
has to be over before those who watch give up (`application.END_SECONDS`)."""

_PROTOCOL = "org.apache.hadoop.yarn.api.ApplicationMasterProtocolPB"
_TOKEN_KIND = "YARN_AM_RM_TOKEN"  # YARN's name for it
_STATUS = {"SUCCEEDED": 1, "FAILED": 2, "KILLED": 3}
_POLL = 0.1  # seconds between two calls on one connection
_FIRST_WAIT, _LONGEST_WAIT = 0.4, 1.0  # seconds between two rounds of connections


def unregister(
    addresses: Sequence[str],
    tokens: Path,
    status: str,
    diagnostics: str,
    *,
    unreachable_seconds: float = UNREACHABLE_SECONDS,
) -> bool:
    """Report the application's final status; True when YARN has recorded it.

    Parameters
    ----------
    addresses
        ``host:port`` of `yarn.resourcemanager.scheduler.address`, one per ResourceManager.
    tokens
        The container's token file (`HADOOP_TOKEN_FILE_LOCATION`).
    status
        ``SUCCEEDED``, ``FAILED`` or ``KILLED``.
    diagnostics
        The text that YARN shows for the application.
    unreachable_seconds
        For how long a ResourceManager that does not answer is tried.
    """
    try:
        token = find_token(tokens.read_bytes(), _TOKEN_KIND)
    except (OSError, ValueError) as error:
        print(f"howdah: {tokens} cannot be read: {error}", flush=True)
        return False
    if token is None:
        return False
    request = encode((1, diagnostics), (3, _STATUS[status]))
    deadline, printed = time.monotonic() + unreachable_seconds, ""
    again, answered = True, False
    waits = delays(_FIRST_WAIT, _LONGEST_WAIT)
    while again and time.monotonic() < deadline:
        again = False
        for address in addresses:
            try:
                with _connect(address, token) as connection:
                    if not answered:
                        deadline, answered = min(deadline, time.monotonic() + RETRY_SECONDS), True
                    while time.monotonic() < deadline:
                        if connection.call("finishApplicationMaster", request).number(1):
                            return True
                        time.sleep(_POLL)  # it is writing the end to its store
            except (NotSupported, PeerRefused, ValueError) as error:  # another try gives the same
                printed = _report(address, str(error), printed)
            except RemoteError as error:
                again, printed = True, _report(address, f"{error.java_class}: {error.message}", printed)
            except OSError as error:
                again, printed = True, _report(address, str(error), printed)
        if again:
            time.sleep(next(waits))
    return False


def _connect(address: str, token: Token) -> RpcConnection:
    authentication = SaslAuthentication(DigestMd5(token))
    return RpcConnection(
        address, _PROTOCOL, authentication, connect_seconds=RETRY_SECONDS, answer_seconds=RETRY_SECONDS
    )


def _report(address: str, text: str, printed: str) -> str:
    """Print an error once in a row; returns what was printed last."""
    if text != printed:
        print(f"howdah: the end could not be reported to YARN at {address}: {text}", flush=True)
    return text
