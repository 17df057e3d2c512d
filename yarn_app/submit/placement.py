"""Where workers are requested: the services to declare for a number of workers and a list of hosts. Pure.

For `submit` alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from howdah.yarn_app.protocol.config import ServiceGroup

MAX_HOST_GROUPS = 32


def spread(n_workers: int, hosts: Sequence[str], *, service: str = "howdah.worker") -> list[ServiceGroup]:
    """Return one service per host for at most 32 hosts, with the workers dealt out in turn; else a single service.

    Hosts that get no worker now have a service too, so that a later `scale` can use them. The last service is for
    workers that their host does not grant.

    Examples
    --------
    >>> for group in spread(3, ["node1", "node2"], service="w"):
    ...     print(group)
    ServiceGroup(service='w.0', instances=2, host='node1')
    ServiceGroup(service='w.1', instances=1, host='node2')
    ServiceGroup(service='w.any', instances=0, host='')
    >>> spread(3, [])
    [ServiceGroup(service='howdah.worker', instances=3, host='')]
    """
    if not hosts or len(hosts) > MAX_HOST_GROUPS:
        return [ServiceGroup(service, n_workers)]
    own = [
        ServiceGroup(f"{service}.{index}", n_workers // len(hosts) + (index < n_workers % len(hosts)), host)
        for index, host in enumerate(hosts)
    ]
    return [*own, ServiceGroup(f"{service}.any", 0)]
