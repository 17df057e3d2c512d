"""Random clusters and graphs, everything that can go wrong, and the books checked after every event."""

from __future__ import annotations

from random import Random

import pytest

from howdah.engine.graph.layer import Broadcast, KToOne, OneToOne, Span, Window
from howdah.engine.graph.patterns import free
from howdah.engine.scheduler.check import Broken, check
from howdah.engine.scheduler.model import Model, layer, whole
from howdah.engine.scheduler.records import LayerSpec

SCENARIOS = 300


def random_graph(random: Random, letters: str) -> list[LayerSpec]:
    """A few layers, of a few items or (numpy columns) some twenty, with every pattern."""
    specs: list[LayerSpec] = []
    for letter in letters:
        sources = random.sample(specs, min(len(specs), random.choice([0, 1, 1, 1, 2])))
        if not sources:
            hosts = {}
            n = random.choice([1, 2, 5, 17, 24])
            if random.random() < 0.4:
                sets = (("H1",), ("h2", "h3"), (), ("elsewhere",))
                hosts = {"host_sets": sets, "host_index": tuple(random.randrange(4) for _ in range(n)),
                         "nbytes": tuple([100] * n)}  # fmt: skip
            specs.append(layer(letter, n, retries=random.choice([0, 0, 2]), **hosts))
            continue
        first, k = sources[0], random.choice([2, 3, 30])
        kind = random.choice(["one", "k", "all", "window", "free"])
        n = {"one": first.n, "window": first.n, "k": -(-first.n // k)}.get(kind, random.choice([1, 3, 18]))
        deps = []
        for source in sources:
            name, choices = source.name, [Broadcast(), adjacency(random, n, source.n)]
            if source.n == n:
                choices += [OneToOne(), Window(1, 1, random.random() < 0.5), Window(0, 2)]
            if source is first:
                window = Window(random.randrange(3), random.randrange(3), random.random() < 0.5)
                some = adjacency(random, n, source.n)
                kinds = {"one": OneToOne(), "k": KToOne(k), "all": Broadcast(), "free": some, "window": window}
                pattern = kinds[kind]
            else:
                pattern = random.choice(choices)
            deps.append((name, pattern))
        specs.append(layer(letter, n, *deps, retries=random.choice([0, 1])))
    return specs


def adjacency(random: Random, n: int, n_source: int):
    return free([random.sample(range(n_source), random.randrange(min(n_source, 4) + 1)) for _ in range(n)])


def some_span(random: Random, spec: LayerSpec) -> Span:
    if random.random() < 0.6:
        return whole(spec)
    lo = random.randrange(spec.n)
    return Span(spec.key, lo, random.randint(lo + 1, spec.n))


def play(seed: int, faults: bool) -> Model:
    """A scenario. With `faults`, anything may go wrong at any time; without, every task must run exactly once."""
    model = Model(seed, after=lambda m: check(m.state))
    random = model.random
    hosts = ["h1", "h2", "h3"]
    for i in range(random.randint(1, 4)):
        model.join_worker(
            f"w{i}", random.choice(hosts).upper() if i % 2 else hosts[i % 3], f"/r{i % 2}", random.choice([1, 1, 2])
        )
    specs = random_graph(random, "abcdef"[: random.randint(1, 6)])
    for i in range(random.choice([1, 1, 2, 3])):
        model.join_client(f"c{i}", random.choice([1.0, 4.0]))
        wanted = [some_span(random, spec) for spec in random.sample(specs, random.randint(1, min(2, len(specs))))]
        model.submit(f"c{i}", specs, wanted, random.choice([0, 0, 1]))
        for _ in range(random.randrange(30)):
            model.turn()
    if faults:
        for spec in specs:
            if random.random() < 0.2:
                model.raises[spec.key, random.randrange(spec.n)] = random.choice([1, 5])
            if random.random() < 0.04:
                model.poison.add((spec.key, random.randrange(spec.n)))
        for _ in range(random.randint(1, 12)):
            for _ in range(random.randrange(25)):
                model.turn()
            mishap(model, specs)
        model.cut.clear()
        if not any(w.linked for w in model.workers.values()):
            model.join_worker("w-last", "h1")
        for name, worker in list(model.workers.items()):
            if not worker.linked:
                model.relink(name)
        model.after = lambda m: (check(m.state), keep_a_worker(m))
    model.settle()
    return model


def keep_a_worker(model: Model) -> None:
    """Poisonous tasks kill workers: others come, as on YARN."""
    if not model.workers:
        after, model.after = model.after, lambda m: check(m.state)
        model.join_worker(f"w{model.next_pid}", "h2")
        model.after = after


def mishap(model: Model, specs: list[LayerSpec]) -> None:
    random = model.random
    workers, clients = list(model.workers), list(model.clients)
    linked = [n for n in workers if model.workers[n].linked]
    what = random.choice(
        ["join", "kill", "kill", "unlink", "relink", "rejoin", "cut", "release", "cancel", "leave", "more", "time"]
    )
    if what == "join":
        model.join_worker(f"w{model.next_pid + 10}", random.choice(["h1", "h2", "h9"]))
    elif what == "kill" and workers:
        model.kill(random.choice(workers), clean=random.random() < 0.3)
    elif what == "unlink" and linked:
        model.unlink(random.choice(linked))
    elif what == "rejoin" and linked:
        name = random.choice(linked)
        model.unlink(name, noticed=False)
        model.relink(name)
    elif what == "relink":
        for name in workers:
            if not model.workers[name].linked:
                model.relink(name)
    elif what == "cut" and len(workers) > 1:
        model.cut.add(frozenset(random.sample(workers, 2)))
    elif what == "release" and clients:
        model.release(random.choice(clients), some_span(random, random.choice(specs)))
    elif what == "cancel" and clients:
        model.cancel(random.choice(clients), some_span(random, random.choice(specs)))
    elif what == "leave" and len(clients) > 1:
        model.leave_client(random.choice(clients))
    elif what == "more" and clients:
        model.submit(random.choice(clients), specs, [some_span(random, random.choice(specs))])
    elif what == "time":
        model.now += random.choice([0.5, 2.0, 5.0])


def end(model: Model) -> None:
    """When all clients have gone, nothing is left anywhere."""
    for name in list(model.clients):
        model.leave_client(name)
    while model.turn():
        pass
    core = model.state.core
    assert not core.books
    assert not core.runs
    assert not core.frees
    assert all(not worker.store for worker in model.workers.values()), [w.store for w in model.workers.values()]


@pytest.mark.parametrize("block", range(10))
def test_without_faults_everything_needed_runs_exactly_once(block: int) -> None:
    for seed in range(block, SCENARIOS // 3, 10):
        model = play(seed, faults=False)
        needed = set()
        stack = [task for client in model.clients.values() for task in client.tasks]
        while stack:
            task = stack.pop()
            if task not in needed:
                needed.add(task)
                stack += model.inputs(task)
        assert set(model.executed) == needed, f"seed {seed}"
        assert max(model.executed.values()) <= len(model.clients), f"seed {seed}"
        for client in model.clients:
            for task, value in model.answers(client).items():
                assert value == model.truth(task)
        end(model)


@pytest.mark.parametrize("block", range(10))
def test_with_faults_every_answer_is_right_or_an_error_with_its_cause(block: int) -> None:
    for seed in range(1000 + block, 1000 + SCENARIOS, 10):
        model = play(seed, faults=True)
        for client in model.clients:
            for task, value in model.answers(client).items():
                if isinstance(value, int):
                    assert value == model.truth(task), f"seed {seed}"
                else:
                    assert value in ("raised", "lost", "cancelled"), f"seed {seed}"
                    assert model.raises or model.poison or value == "cancelled" or value == "lost", f"seed {seed}"
        model.poison.clear()
        end(model)


def test_same_events_same_instructions() -> None:
    assert play(1234, faults=True).story == play(1234, faults=True).story


def test_the_books_are_really_checked() -> None:
    """A state with a lost count, a forgotten group or a missing holder does not pass."""
    for damage in (
        lambda book: book.need.__setitem__(0, 7),
        lambda book: book.ready.clear(),
        lambda book: book.counts.__setitem__(1, 3),
        lambda book: book.wanted.__setitem__(1, 0),
    ):
        model = Model(1)
        model.join_client("me")
        spec = layer("a", 3)
        model.submit("me", [spec], [whole(spec)])
        check(model.state)
        damage(model.state.core.books[spec.key])
        with pytest.raises(Broken):
            check(model.state)
