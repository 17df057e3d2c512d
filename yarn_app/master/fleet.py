"""Fleet: how many worker containers there should be, where, and when to give up. Pure.

`fleet.reconcile(now, wanted, containers, joined)` takes what skein's application master reports on the containers and
returns actions. No clock, no YARN, no randomness: the same reports give the same actions. For the master
(`supervisor`), which carries the actions out, and for tests.

The rules, in order:

1. A container that ended and was not removed by the fleet is *lost*: reported once, with YARN's exit message and its
   node. A container that YARN reclaimed (preempted for another queue, or gone with its node) is reported as that. It
   counts for none of the rules 2 to 4, and another one is requested at once.
2. More than `failures_allowed` losses within `WINDOW` seconds: fail the application, with the last exit message (a
crash
   loop does not run for ever).
3. A node on which `NODE_STRIKES` containers ended before their worker had joined is excluded: containers that YARN puts
   there afterwards are removed, and the service of that node is not used any more. (skein cannot exclude
   nodes at the ResourceManager.) If that would exclude every node that was ever seen, nothing is excluded.
4. Fewer containers than wanted: add, on the service that has fewest of its share; after a loss only when the backoff
   of `BACKOFF` * 2**k seconds (at most `MAX_BACKOFF`) is over, k being the losses since a worker last joined.
5. A container that was requested on one host, and that YARN has not granted within `HOST_TIMEOUT` seconds, is requested
   on any host instead. (YARN's own relaxing gives up after as many heartbeats as the cluster has nodes: on a small
   cluster that is at once, and all workers land on one node.)
6. More than wanted: remove those that YARN has not granted yet, then those whose worker has not joined, then the
   newest.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from howdah.yarn_app.protocol.config import ServiceGroup
from howdah.yarn_app.yarn.reports import ContainerStatus

WINDOW = 600.0
NODE_STRIKES = 2
MAX_RELEASES = 5
BACKOFF = 0.5
MAX_BACKOFF = 30.0
HOST_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class AddContainer:
    """Request one more container of this service."""

    service: str


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    """End this container, or withdraw the request for it."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class ContainerLost:
    """A container ended that the fleet had not removed.

    Attributes
    ----------
    joined : whether its worker had connected to the scheduler.
    reclaimed : why YARN took it (`PREEMPTED`, `NODE_LOST`); "" where it failed by itself.
    """

    name: str
    host: str
    container: str
    message: str
    joined: bool
    reclaimed: str = ""


@dataclass(frozen=True, slots=True)
class FailApplication:
    """End the application: its workers keep failing."""

    reason: str


Action = AddContainer | RemoveContainer | ContainerLost | FailApplication

PREEMPTED, NODE_LOST = "preempted", "node lost"


def reclaim_reason(message: str) -> str:
    """Return why YARN took a container that did nothing wrong; "" where it failed by itself.

    skein passes YARN's text on and not its exit status (-102 PREEMPTED, -100 ABORTED).

    >>> reclaim_reason("Container preempted by scheduler"), reclaim_reason("Container released on a *lost* node")
    ('preempted', 'node lost')
    >>> reclaim_reason("Container failed during execution, see logs for more information.")
    ''
    """
    first = message.partition("\n")[0].lower()
    if "preempted by scheduler" in first:
        return PREEMPTED
    return NODE_LOST if "lost* node" in first or "lost node" in first else ""


@dataclass(slots=True)
class Fleet:
    """The rules of this module over the life of one application master.

    Parameters
    ----------
    groups : the services that were declared at submission.
    failures_allowed : losses allowed within `WINDOW` seconds; None for no limit.
    """

    groups: Sequence[ServiceGroup]
    failures_allowed: int | None
    _ended: set[str] = field(default_factory=set)  # reported as lost, or removed by the fleet
    _joined: set[str] = field(default_factory=set)
    _losses: deque[float] = field(default_factory=deque)
    _since_joined: int = 0
    _next_add: float = 0.0
    _strikes: Counter[str] = field(default_factory=Counter)
    _hosts: set[str] = field(default_factory=set)
    _released: int = 0
    _requested: dict[str, float] = field(default_factory=dict)  # pending containers of one host: since when
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
        """Return the actions that bring the containers to the wanted number.

        Parameters
        ----------
        now
            Seconds of a monotonic clock.
        wanted
            Number of workers wanted.
        containers
            All worker containers, those that have ended too.
        joined
            Names of the workers that are connected to the scheduler at this moment.

        Examples
        --------
        >>> groups = [ServiceGroup("w.0", 1, "node1"), ServiceGroup("w.1", 1, "node2")]
        >>> fleet = Fleet(groups, failures_allowed=4)
        >>> fleet.reconcile(0.0, 3, [ContainerStatus("w.0_0", "w.0", "RUNNING", "node1")], set())
        [AddContainer(service='w.1'), AddContainer(service='w.0')]
        """
        reported = list(containers)
        self._hosts |= {one.host for one in reported if one.host}
        fresh = set(joined) - self._joined
        if fresh:
            self._joined |= fresh
            self._since_joined, self._next_add = 0, now
        actions: list[Action] = [*self._report_losses(now, reported)]
        while self._losses and self._losses[0] < now - WINDOW:
            self._losses.popleft()
        if self.failures_allowed is not None and len(self._losses) > self.failures_allowed:
            return [*actions, FailApplication(self._failure_reason())]
        actions += self._release_excluded(reported)
        overdue = self._overdue_requests(now, reported)
        actions += [RemoveContainer(name, f"its host did not grant it within {HOST_TIMEOUT:.0f} s") for name in overdue]
        active = [one for one in reported if one.active and one.name not in self._ended]
        missing = wanted - len(active)
        if missing > 0:
            on_any = [AddContainer(group.service) for group in self.groups if not group.host][:1]
            anywhere = on_any * min(len(overdue), missing)
            actions += [*anywhere, *self._add(now, missing - len(anywhere), active)]
        elif len(active) > wanted:
            actions += self._remove_surplus(len(active) - wanted, active)
        return actions

    def _report_losses(self, now: float, reported: Sequence[ContainerStatus]) -> Iterable[ContainerLost]:
        for one in reported:
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
        assert last is not None, "losses are counted and there was none"
        where = f" on {last.host}" if last.host else ""
        return (
            f"{len(self._losses)} worker containers failed within {WINDOW / 60:.0f} minutes, and "
            f"{self.failures_allowed} are allowed (max_failures). "
            f"The last one, {last.container or last.name}{where}: {last.message}"
        )

    def _release_excluded(self, reported: Sequence[ContainerStatus]) -> Iterable[RemoveContainer]:
        """Remove containers on excluded nodes; a bounded number of times, as YARN may have no other place."""
        excluded = self.excluded
        for one in reported:
            if one.state != "RUNNING" or one.host not in excluded or one.name in self._joined | self._ended:
                continue
            if self._released < MAX_RELEASES:
                self._released += 1
                self._ended.add(one.name)
                yield RemoveContainer(one.name, f"{self._strikes[one.host]} containers failed to start on {one.host}")

    def _overdue_requests(self, now: float, reported: Sequence[ContainerStatus]) -> list[str]:
        """Containers that their host has not granted in time, where another host may."""
        bound = {group.service for group in self.groups if group.host}
        if len(bound) == len(self.groups):
            return []
        waiting = [one.name for one in reported if one.pending and one.service in bound and one.name not in self._ended]
        self._requested = {name: self._requested.get(name, now) for name in waiting}
        overdue = [name for name, since in self._requested.items() if now - since >= HOST_TIMEOUT]
        self._ended.update(overdue)
        return overdue

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
    """Return the number of a container within its service: skein counts from 0.

    >>> _instance("howdah.worker.1_7")
    7
    """
    number = name.rpartition("_")[2]
    return int(number) if number.isdigit() else 0
