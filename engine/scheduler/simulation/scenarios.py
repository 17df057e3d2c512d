"""Scenarios: a seed makes a cluster, graphs and failures; one that breaks an invariant is shortened and printed as a
script.

A scenario is a list of moves of the `Model`, drawn one by one from a seeded generator while the model plays them, with
the tables checked after every event. When one fails, moves that the failure does not need are left out, and what
remains is Python that shows the same failure (`script`). Used by the tests and by `make soak`.

>>> found = search([7], faults=True)
>>> found is None
True
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, NamedTuple

from howdah.engine.scheduler.simulation.cluster import Model, key_of
from howdah.engine.scheduler.simulation.invariants import check_invariants

HOSTS = ("h1", "h2", "h3")

MOST_SECONDS = 60.0
"""Spent on cutting one scenario down."""


class Move(NamedTuple):
    """One call of a method of the model, with literals."""

    name: str
    args: tuple[Any, ...]
    more: dict[str, Any]

    def __str__(self) -> str:
        parts = [repr(arg) for arg in self.args] + [f"{name}={value!r}" for name, value in self.more.items()]
        return f"model.{self.name}({', '.join(parts)})"

    def on(self, model: Model) -> bool:
        return bool(getattr(model, self.name)(*self.args, **self.more))


def new_model(speculation: bool = False) -> Model:
    """A model whose tables are checked after every event."""
    return Model(lambda model: check_invariants(model.scheduler), speculation)


def replay(moves: Iterable[Move], speculation: bool = False) -> Model:
    """Play these moves."""
    model = new_model(speculation)
    for move in moves:
        move.on(model)
    return model


def script(moves: Iterable[Move], speculation: bool = False) -> str:
    """The moves as a program."""
    lines = [
        f"from {__name__} import new_model",
        "",
        f"model = new_model({speculation})",
    ]
    return "\n".join([*lines, *[str(move) for move in moves]]) + "\n"


class Failure(NamedTuple):
    """A scenario that failed: `moves` are all of it, or what is needed."""

    seed: int
    moves: list[Move]
    speculation: bool
    error: Exception

    def __str__(self) -> str:
        said = traceback.format_exception_only(self.error)[-1].strip()
        return (
            f"scenario {self.seed} fails; this shows it:\n\n{script(self.moves, self.speculation)}\n"
            f"# {type(self.error).__name__}: " + said.split(": ", 1)[-1].replace("\n", "\n# ")
        )


# -- drawing a scenario -----------------------------------------------------------------------------------------------


class Play:
    """A scenario under way. `run` plays all of it; `moves` are those so far."""

    def __init__(self, seed: int, faults: bool) -> None:
        self.random = random = Random(seed)
        self.faults = faults
        self.speculation = faults and random.random() < 0.2
        self.model = new_model(self.speculation)
        self.moves: list[Move] = []
        self.mishaps: list[str] = []
        self.letters = "abcdef"[: random.randint(1, 6)]

    def do(self, name: str, *args: Any, **more: Any) -> bool:
        move = Move(name, args, more)
        self.moves.append(move)  # before it is played: it may be the one that fails
        possible = move.on(self.model)
        if not possible:
            self.moves.pop()
        return possible

    def run(self) -> Model:
        random = self.random
        for i in range(random.randint(1, 4)):
            self._join(f"w{i}")
        self._graph()
        for i in range(random.choice([1, 1, 2, 3])):
            self.do("join_client", f"c{i}", random.choice([1.0, 4.0]))
            self._submit(f"c{i}")
            self._go_on(30)
        if self.faults:
            for letter in self.letters:
                if random.random() < 0.2:
                    self.do("raises", letter, random.randrange(self._n(letter)), random.choice([1, 5]))
                if random.random() < 0.1:
                    self.do("faults", letter, random.randrange(self._n(letter)), random.choice([1, 2, 6]))
                if random.random() < 0.04:
                    self.do("poison", letter, random.randrange(self._n(letter)))
            for _ in range(random.randint(1, 14)):
                self._go_on(25)
                self._mishap()
        self.do("settle")
        return self.model

    def _n(self, letter: str) -> int:
        return self.model.layers[key_of(letter)].n

    def _join(self, name: str) -> None:
        random, host = self.random, self.random.choice(HOSTS)
        more: dict[str, Any] = {"resources": (("gpu", 1.0),)} if random.random() < 0.2 else {}
        rack = f"/r{HOSTS.index(host) % 2}"
        self.do("join_worker", name, random.choice([host, host.upper()]), rack, random.choice([1, 1, 2]), **more)

    def _graph(self) -> None:
        """A few layers, of a few items or (numpy columns) some twenty, with every pattern."""
        random = self.random
        made: list[str] = []
        for letter in self.letters:
            sources = random.sample(made, min(len(made), random.choice([0, 1, 1, 1, 2])))
            more: dict[str, Any] = {}
            if random.random() < 0.4:
                more["retries"] = random.choice([1, 2])
            if random.random() < 0.06:
                more["resources"] = (("gpu", 1.0),)
            elif random.random() < 0.1:
                more["workers"] = tuple(random.sample(["w0", "w1", "h1", "h3"], random.randint(1, 2)))
                more["allow_other_workers"] = random.random() < 0.3
            if random.random() < 0.1:
                more["priority"] = random.randrange(2)
            if not sources:
                n = random.choice([1, 1, 2, 5, 17, 24])
                if random.random() < 0.4:
                    more["host_sets"] = (("H1",), ("h2", "h3"), (), ("elsewhere",))
                    more["host_index"] = tuple(random.randrange(4) for _ in range(n))
                    more["nbytes"] = (100,) * n
                if random.random() < 0.15:
                    more["arrived"] = random.randrange(n)
            else:
                n = self._length(sources[0])
            self.do("layer", letter, n, *[(source, *self._pattern(n, source)) for source in sources], **more)
            made.append(letter)

    def _length(self, source: str) -> int:
        n, random = self._n(source), self.random
        return random.choice([n, n, n, -(-n // 2), -(-n // 3), -(-n // 30), 1, 3, 18])

    def _pattern(self, n: int, source: str) -> tuple[Any, ...]:
        """Any pattern in which `n` items can need that layer."""
        random, m = self.random, self._n(source)
        adjacency = [random.sample(range(m), random.randrange(min(m, 4) + 1)) for _ in range(n)]
        choices: list[tuple[Any, ...]] = [("all",), ("free", adjacency)]
        choices += [("k", k) for k in (2, 3, 30) if -(-m // k) == n]
        if n == m:
            window = ("window", random.randrange(3), random.randrange(3), random.random() < 0.5)
            choices += [("one",), ("one",), window]
        return random.choice(choices)

    def _some(self) -> tuple[str, int, int]:
        random = self.random
        letter = random.choice(self.letters)
        n = self._n(letter)
        if random.random() < 0.6:
            return letter, 0, n
        lo = random.randrange(n)
        return letter, lo, random.randint(lo + 1, n)

    def _submit(self, client: str) -> bool:
        random = self.random
        wanted = [self._some() for _ in range(random.randint(1, 2))]
        self.do("submit", client, self.letters, wanted, random.choice([0, 0, 1]))
        for letter in self.letters:
            if self.model.layers[key_of(letter)].arrived >= 0 and random.random() < 0.8:
                self._go_on(5)
                self.do("arguments", letter, random.choice([self._n(letter), random.randint(1, self._n(letter))]))
        return True

    def _go_on(self, most: int) -> None:
        """Workers work and report."""
        random, model = self.random, self.model
        for _ in range(random.randrange(most)):
            names = [name for name, worker in model.workers.items() if worker.linked or random.random() < 0.5]
            if not names:
                return
            name = random.choice(names)
            worker = model.workers[name]
            if worker.unreported and random.random() < 0.5:
                self.do("report", name, random.randrange(len(worker.unreported)))
            elif not self.do("step", name, random.randrange(2)) and worker.unreported:
                self.do("report", name, 0)
            if self.faults and random.random() < 0.03:
                self.do("echo", random.randrange(20))

    def _mishap(self) -> None:
        random, model = self.random, self.model
        workers, clients = list(model.workers), list(model.clients)
        worker = random.choice(workers) if workers else ""
        client = random.choice(clients) if clients else ""
        kinds: dict[str, Callable[[], Any]] = {
            "join": lambda: self._join(f"w{model.pid + 10}"),
            "kill": lambda: self.do("kill", worker, clean=random.random() < 0.3),
            "kill two": lambda: [self.do("kill", name) for name in random.sample(workers, min(2, len(workers)))],
            "replace": lambda: self._join(worker) if worker else None,
            "unlink": lambda: self.do("unlink", worker),
            "relink": lambda: [self.do("relink", n) for n in workers if not model.workers[n].linked],
            "blink": lambda: (self.do("unlink", worker, noticed=False), self.do("relink", worker)),
            "cut": lambda: self.do("cut", *random.sample(workers, 2)) if len(workers) > 1 else None,
            "mend": lambda: self.do("mend"),
            "release": lambda: self.do("release", client, *self._some()),
            "cancel": lambda: self.do("cancel", client, *self._some()),
            "retry": lambda: self.do("retry", client, *self._some()),
            "unfetched": lambda: self._unfetched(client),
            "leave": lambda: self.do("leave_client", client) if len(clients) > 1 else None,
            "more": lambda: self._submit(client) if client else None,
            "come": lambda: [self.do("join_client", f"c{len(clients)}", 1.0), self._submit(f"c{len(clients)}")],
            "time": lambda: self.do("wait", random.choice([0.5, 2.0, 5.0])),
            "slots": lambda: self.do("slots", worker, random.randint(1, 3)),
            "copy": lambda: self.do("copy", worker, *self._some()),
            "racks": lambda: self.do("racks", random.choice([*HOSTS, "elsewhere"]), "/r1"),
            "stall": lambda: self.do("unlink", worker, noticed=False),
            "restart": self._restart,
            "come back": lambda: self.do("comes_back", client),
            "echo": lambda: self.do("echo", random.randrange(20)),
        }
        if not self.mishaps:  # a few kinds a scenario meet each other more often than many would
            self.mishaps = random.sample(list(kinds), random.randint(2, len(kinds)))
        kinds[random.choice(self.mishaps)]()

    def _restart(self) -> None:
        """The scheduler dies; workers find the new one in any order, and perhaps not all of them."""
        random, names = self.random, list(self.model.workers)
        self.do("restart", compacted=random.random() < 0.3)
        random.shuffle(names)
        for name in names:
            self._go_on(6)
            if random.random() < 0.8:
                self.do("relink", name)
            if random.random() < 0.2:
                self.do("comes_back", random.choice(list(self.model.clients)))

    def _unfetched(self, client: str) -> None:
        if client and self.model.clients[client].tasks:
            key, item = self.random.choice(list(self.model.clients[client].tasks))
            self.do("unfetched", client, chr(96 + key[0]), item)


# -- searching and cutting down ---------------------------------------------------------------------------------------


def search(seeds: Iterable[int], faults: bool, then: Callable[[Model], None] | None = None) -> Failure | None:
    """Play these seeds' scenarios; the first that fails, cut down. `then` looks at the model once it has come to
    rest, and before all clients leave."""
    for seed in seeds:
        play = Play(seed, faults)
        try:
            model = play.run()
            if then is not None:
                then(model)
            play.do("end")
        except Exception as error:  # noqa: BLE001  # whatever the state raises is what is looked for
            return shrink(Failure(seed, play.moves, play.speculation, error))
    return None


def _kind(error: Exception) -> tuple[str, str]:
    """What failures must have in common to be the same: their type, and the function that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return type(error).__name__, frames[-1].name if frames else ""


def _fails(moves: list[Move], speculation: bool, kind: tuple[str, str]) -> Exception | None:
    try:
        replay(moves, speculation)
    except Exception as error:  # noqa: BLE001  # see `search`
        return error if _kind(error) == kind else None
    return None


def shrink(failure: Failure, seconds: float = MOST_SECONDS) -> Failure:
    """The same failure with fewer moves: stretches are left out, long ones first, while it still fails so."""
    kind, end = _kind(failure.error), time.monotonic() + seconds
    moves, error = failure.moves, failure.error
    size = len(moves) // 2
    while size and time.monotonic() < end:
        at, shorter = 0, False
        while at < len(moves) and time.monotonic() < end:
            without = moves[:at] + moves[at + size :]
            again = _fails(without, failure.speculation, kind)
            if again is None:
                at += size
            else:
                moves, error, shorter = without, again, True
        if size > 1 or not shorter:
            size //= 2
    return failure._replace(moves=moves, error=error)
