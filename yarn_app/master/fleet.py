"""Fleet: how many worker containers there should be, where, and when to stop trying. Pure.

`fleet.look(now, wanted, containers, joined)` hears what skein's application master says about the containers and
answers with orders. No clock, no YARN, no randomness: same reports, same orders. The master (`master.py`) plays them;
nobody else but tests uses it.

The rules, in order:

1. A container that ended without having been asked to is *lost*: told once, with YARN's exit message and its node.
   What YARN took away (preempted for another queue, or gone with its node) says nothing about the worker: it is told
   as that, counts for none of the rules 2 to 4, and another one is asked for at once.
2. More than `failures_allowed` losses within `WINDOW` seconds: give up, with the last exit message (a crash loop
   fails the application instead of running for ever).
3. A node on which `NODE_STRIKES` containers ended before their worker had joined is excluded: what YARN puts there
   afterwards is given back, and its own service is not asked any more. (skein cannot tell the ResourceManager.)
   If that would exclude every node that was ever seen, nothing is excluded.
4. Fewer containers than wanted: add, on the service that has fewest of its share; after a loss only when the backoff
   of `BACKOFF` * 2**k seconds (at most `BACKOFF_MOST`) is over, k being the losses since a worker last joined.
5. A container that was asked for on one host, and that YARN has not granted within `HOST_PATIENCE` seconds, is asked
   for anywhere instead. (YARN's own relaxing gives up after as many heartbeats as the cluster has nodes: on a small
   cluster that is at once, and all workers land on one node.)
6. More than wanted: give back those that YARN has not granted yet, then those whose worker has not joined, then the
   newest.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

WINDOW = 600.0
NODE_STRIKES = 2
MAX_RELEASES = 5
BACKOFF = 0.5
MAX_BACKOFF = 30.0
MAX_HOST_GROUPS = 32
HOST_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class ServiceGroup:
    """One skein service: `instances` at the start, on `host` and nowhere else ("" is anywhere)."""

    service: str
    instances: int
    host: str = ""


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """A container as the application master reports it; `state` in skein's words, `address` of its node's pages."""

    name: str
    service: str
    state: str
    host: str = ""
    container: str = ""
    message: str = ""
    address: str = ""

    @property
    def pending(self) -> bool:
        return self.state in ("WAITING", "REQUESTED")

    @property
    def active(self) -> bool:
        return self.pending or self.state == "RUNNING"


@dataclass(frozen=True, slots=True)
class AddContainer:
    """Ask for one more container of this service."""

    service: str


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    """Give this container back."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class ContainerLost:
    """This container ended and was not asked to. `joined`: its worker had been at work. `taken`: why YARN took it."""

    name: str
    host: str
    container: str
    message: str
    joined: bool
    reclaimed: str = ""


@dataclass(frozen=True, slots=True)
class FailApplication:
    """End the application: its workers keep dying."""

    reason: str


Action = AddContainer | RemoveContainer | ContainerLost | FailApplication

PREEMPTED, NODE_LOST = "preempted", "node lost"


def reclaim_reason(message: str) -> str:
    """Why YARN took a container that did nothing wrong; "" where it failed by itself.

    skein hands on YARN's words and not its exit status (-102 PREEMPTED, -100 ABORTED).

    >>> taken("Container preempted by scheduler"), taken("Container released on a *lost* node")
    ('preempted', 'node lost')
    >>> taken("Container failed during execution, see logs for more information.")
    ''
    """
    first = message.partition("\n")[0].lower()
    if "preempted by scheduler" in first:
        return PREEMPTED
    return NODE_LOST if "lost* node" in first or "lost node" in first else ""


@dataclass(slots=True)
class Fleet:
    """See the module. `failures_allowed` None is without end."""

    groups: Sequence[ServiceGroup]
    failures_allowed: int | None
    _ended: set[str] = field(default_factory=set)  # told of, or given back by us
    _joined: set[str] = field(default_factory=set)
    _losses: deque[float] = field(default_factory=deque)
    _since_joined: int = 0
    _next_add: float = 0.0
    _strikes: Counter[str] = field(default_factory=Counter)
    _hosts: set[str] = field(default_factory=set)
    _released: int = 0
    _requested: dict[str, float] = field(
        default_factory=dict
    )  # containers of one host that are not granted: since when
    _last_loss: ContainerLost | None = None

    @property
    def excluded(self) -> frozenset[str]:
        """Nodes that get no worker any more."""
        struck = {host for host, strikes in self._strikes.items() if strikes >= NODE_STRIKES}
        every = self._hosts | {group.host for group in self.groups if group.host}
        return frozenset() if struck >= every else frozenset(struck)

    def reconcile(
        self, now: float, wanted: int, containers: Iterable[ContainerStatus], joined: Collection[str]
    ) -> list[Action]:
        """What to do now. `joined`: names of the workers that the scheduler knows at this moment.

        >>> fleet = Fleet([Group("w.0", 1, "node1"), Group("w.1", 1, "node2")], failures_allowed=4)
        >>> fleet.look(0.0, 3, [Seen("w.0_0", "w.0", "RUNNING", "node1")], set())
        [Add(service='w.1'), Add(service='w.0')]
        """
        seen = list(containers)
        self._hosts |= {one.host for one in seen if one.host}
        fresh = set(joined) - self._joined
        if fresh:
            self._joined |= fresh
            self._since_joined, self._next_add = 0, now
        orders: list[Action] = [*self._report_losses(now, seen)]
        while self._losses and self._losses[0] < now - WINDOW:
            self._losses.popleft()
        if self.failures_allowed is not None and len(self._losses) > self.failures_allowed:
            return [*orders, FailApplication(self._failure_reason())]
        orders += self._release_excluded(seen)
        slow = self._overdue_requests(now, seen)
        orders += [RemoveContainer(name, f"its host did not grant it within {HOST_TIMEOUT:.0f} s") for name in slow]
        active = [one for one in seen if one.active and one.name not in self._ended]
        missing = wanted - len(active)
        if missing > 0:
            anywhere = [AddContainer(group.service) for group in self.groups if not group.host][:1] * min(
                len(slow), missing
            )
            orders += [*anywhere, *self._add(now, missing - len(anywhere), active)]
        elif len(active) > wanted:
            orders += self._remove_surplus(len(active) - wanted, active)
        return orders

    def _report_losses(self, now: float, seen: Sequence[ContainerStatus]) -> Iterable[ContainerLost]:
        for one in seen:
            if one.active or one.name in self._ended:
                continue
            self._ended.add(one.name)
            had_joined = one.name in self._joined
            message = one.message.strip() or f"the container ended ({one.state.lower()})"
            lost = ContainerLost(one.name, one.host, one.container, message, had_joined, reclaim_reason(message))
            if not lost.reclaimed:
                self._losses.append(now)
                self._next_add = now + min(MAX_BACKOFF, BACKOFF * 2**self._since_joined)
                self._since_joined += 1
                if not had_joined and one.host:
                    self._strikes[one.host] += 1
                self._last_loss = lost
            yield lost

    def _failure_reason(self) -> str:
        last = self._last_loss
        assert last is not None, "nothing was lost, and yet too much"
        where = f" on {last.host}" if last.host else ""
        return (
            f"{len(self._losses)} worker containers failed within {WINDOW / 60:.0f} minutes, and "
            f"{self.failures_allowed} are allowed (max_failures). "
            f"The last one, {last.container or last.name}{where}: {last.message}"
        )

    def _release_excluded(self, seen: Sequence[ContainerStatus]) -> Iterable[RemoveContainer]:
        """What landed on an excluded node; a bounded number of times, for YARN may have no other place."""
        excluded = self.excluded
        for one in seen:
            if one.state != "RUNNING" or one.host not in excluded or one.name in self._joined | self._ended:
                continue
            if self._released < MAX_RELEASES:
                self._released += 1
                self._ended.add(one.name)
                yield RemoveContainer(one.name, f"{self._strikes[one.host]} containers failed to start on {one.host}")

    def _overdue_requests(self, now: float, seen: Sequence[ContainerStatus]) -> list[str]:
        """Containers that their host does not give in time, where another host may."""
        bound = {group.service for group in self.groups if group.host}
        if len(bound) == len(self.groups):
            return []
        waiting = [one.name for one in seen if one.pending and one.service in bound and one.name not in self._ended]
        self._requested = {name: self._requested.get(name, now) for name in waiting}
        slow = [name for name, since in self._requested.items() if now - since >= HOST_TIMEOUT]
        self._ended.update(slow)
        return slow

    def _add(self, now: float, missing: int, active: Sequence[ContainerStatus]) -> Iterable[AddContainer]:
        if missing <= 0 or now < self._next_add:
            return
        own = [group for group in self.groups if group.host] or list(self.groups)
        usable = [group for group in own if group.host not in self.excluded] or own
        count = Counter(one.service for one in active)
        for _ in range(missing):
            group = min(usable, key=lambda g: (count[g.service] - g.instances, g.service))
            count[group.service] += 1
            yield AddContainer(group.service)

    def _remove_surplus(self, surplus: int, active: Sequence[ContainerStatus]) -> Iterable[RemoveContainer]:
        def rank(one: ContainerStatus) -> tuple[bool, bool, int]:
            return (not one.pending, one.name in self._joined, -_instance(one.name))

        for one in sorted(active, key=rank)[:surplus]:
            self._ended.add(one.name)
            yield RemoveContainer(one.name, "fewer workers are wanted")


def _instance(name: str) -> int:
    """skein numbers a service's containers from 0: 'howdah.worker.1_7' is number 7.

    >>> _instance("howdah.worker.1_7")
    7
    """
    number = name.rpartition("_")[2]
    return int(number) if number.isdigit() else 0


def spread(n_workers: int, hosts: Sequence[str], *, service: str = "howdah.worker") -> list[ServiceGroup]:
    """The services to declare: one per host for at most 32 hosts, workers dealt out in turn; else a single one.

    Hosts that get no worker now get a service nonetheless, so that a later `scale` can use them. The last service is
    for what its host does not give.

    >>> spread(3, ["node1", "node2"], service="w")
    [Group(service='w.0', instances=2, host='node1'), Group(service='w.1', instances=1, host='node2'),
     Group(service='w.any', instances=0, host='')]
    >>> spread(3, [])
    [Group(service='howdah.worker', instances=3, host='')]
    """
    if not hosts or len(hosts) > MAX_HOST_GROUPS:
        return [ServiceGroup(service, n_workers)]
    own = [
        ServiceGroup(f"{service}.{index}", n_workers // len(hosts) + (index < n_workers % len(hosts)), host)
        for index, host in enumerate(hosts)
    ]
    return [*own, ServiceGroup(f"{service}.any", 0)]
