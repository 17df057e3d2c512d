"""`delayed`, `compute` and `persist`: with no client, with every local scheduler, and on a cluster."""

import operator
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from howdah.engine.api import Client
from howdah.engine.delayed.compute import compute, persist
from howdah.engine.delayed.delayed import Delayed, delayed
from howdah.errors import InputError


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(n_workers=2) as client:
        yield client


@pytest.fixture(params=["inline", "threads", "client"])
def scheduler(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("client") if request.param == "client" else request.param


def inc(x: int) -> int:
    return x + 1


def draw() -> float:
    return random.SystemRandom().random()


def add(x: Any, y: Any) -> Any:
    return x + y


def test_calls_run_later_and_together(scheduler: Any) -> None:
    a, b = delayed(inc)(1), delayed(inc)(2)
    assert compute(a, [b, {"x": (a, 5)}], "text", scheduler=scheduler) == (2, [3, {"x": (2, 5)}], "text")
    assert delayed(add)(a, b).compute(scheduler=scheduler) == 5
    assert delayed(add)(a, 10).compute(scheduler=scheduler) == 12
    assert delayed(add)(10, y=b).compute(scheduler=scheduler) == 13
    assert compute(a, traverse=False, scheduler=scheduler) == (2,)
    assert compute([a], traverse=False, scheduler=scheduler) == ([a],)


def test_arguments_are_looked_into(scheduler: Any) -> None:
    a, b = delayed(inc)(1), delayed(inc)(2)
    assert delayed(sum)([a, b, 10]).compute(scheduler=scheduler) == 15
    assert delayed(dict)({"a": a}, b=[b, (a,)]).compute(scheduler=scheduler) == {"a": 2, "b": [3, (2,)]}
    assert delayed(len)({a, b}).compute(scheduler=scheduler) == 2
    parts = [a, b]
    total = delayed(sum)(parts)
    parts.append(a)
    assert total.compute(scheduler=scheduler) == 5  # what happens to the list later is not part of the call
    assert delayed([a, {"b": b}]).compute(scheduler=scheduler) == [2, {"b": 3}]
    assert delayed(5).compute(scheduler=scheduler) == 5


def test_values_are_used_as_if_they_were_there(scheduler: Any) -> None:
    text = delayed("a-b")
    assert text.upper().compute(scheduler=scheduler) == "A-B"
    assert text.split("-", maxsplit=1)[1].compute(scheduler=scheduler) == "b"
    number = delayed(inc)(4)
    assert compute(number.real, -number, number + 1, 1 + number, 2**number, number < 6, number % 3, number == 5,
                   scheduler=scheduler) == (5, -5, 6, 6, 32, True, 2, True)  # fmt: skip
    assert delayed(operator.add)(number, number).compute(scheduler=scheduler) == 10
    q, r = delayed(divmod, nout=2)(17, 5)
    assert compute(q, r, scheduler=scheduler) == (3, 2)
    chosen = delayed({"f": inc})["f"]
    assert chosen(1).compute(scheduler=scheduler) == 2


def test_what_needs_the_value_now_is_refused() -> None:
    x = delayed(inc)(1)
    for wrong, message in (
        (lambda: bool(x), "truth value"),
        (lambda: len(x), "nout=2"),
        (lambda: list(x), "nout=2"),
        (lambda: x.__setitem__(0, 1), "cannot be changed"),
        (lambda: setattr(x, "y", 1), "cannot be changed"),
    ):
        with pytest.raises(TypeError, match=message):
            wrong()
    private = "_private"
    with pytest.raises(AttributeError, match=private):
        getattr(x, private)
    with pytest.raises(InputError, match="nout: got -1"):
        delayed(inc, nout=-1)
    with pytest.raises(InputError, match="'schedular'; did you mean 'scheduler'"):
        x.compute(schedular="threads")


def test_a_decorator_and_methods(scheduler: Any) -> None:
    @delayed(pure=True, name="plus")
    def together(a: int, b: int) -> int:
        return a + b

    class Box:
        def __init__(self, size: int) -> None:
            self.size = size

        @delayed
        def grown(self, by: int) -> int:
            return self.size + by

    assert together(1, 2).key.startswith("plus-")
    assert together(1, 2).compute(scheduler=scheduler) == 3
    assert Box(4).grown(3).compute(scheduler=scheduler) == 7


def test_pure_calls_are_one_and_others_are_not() -> None:
    pure = delayed(inc, pure=True)
    assert pure(1).key == pure(1).key != pure(2).key
    assert delayed(inc)(1, pure=True).key == pure(1).key
    assert delayed(inc)(1).key != delayed(inc)(1).key
    assert delayed(inc)(1, dask_key_name="first").key.startswith("first-")
    ran: list[int] = []
    noted = delayed(lambda x: ran.append(x) or x, pure=True)
    assert compute(noted(1) + noted(1), noted(1), scheduler="inline") == (2, 1)
    assert ran == [1]
    numbers = [delayed(draw)() for _ in range(5)]
    assert len(set(compute(*numbers, scheduler="inline"))) == 5


def test_what_is_shared_is_computed_once() -> None:
    ran: list[int] = []
    leaf = delayed(lambda: ran.append(1) or len(ran))()
    assert compute(leaf + leaf, [leaf, delayed(sum)([leaf, leaf])], scheduler="inline") == (2, [1, 2])
    assert ran == [1]


def test_persisted_values_are_kept(scheduler: Any) -> None:
    x, y = delayed(draw)(), delayed(draw)()
    px, py = persist(x, y, scheduler=scheduler)
    first = compute(px, py, scheduler=scheduler)
    assert compute(px, py, scheduler=scheduler) == first
    assert first[0] != first[1]
    assert (px + 1).compute(scheduler=scheduler) == first[0] + 1
    assert px.key == x.key
    again = px.persist(scheduler=scheduler)
    assert again.compute(scheduler=scheduler) == first[0]
    nest = persist({"a": [x]}, scheduler=scheduler)[0]
    assert isinstance(nest["a"][0], Delayed)


def test_what_was_persisted_here_serves_a_cluster(client: Client) -> None:
    x = delayed(draw)().persist(scheduler="threads")
    assert (x + 0).compute(scheduler=client) == x.compute(scheduler="inline")


def test_irregular_graphs_are_right(scheduler: Any) -> None:
    rng = random.Random(7)
    made: list[tuple[Any, int]] = [(delayed(inc)(i), i + 1) for i in range(20)]
    for _ in range(300):
        some = rng.sample(made, rng.randint(1, 3))
        extra = rng.randint(0, 5)
        form = rng.randrange(4)
        if form == 0:
            call, value = delayed(sum)([d for d, _ in some]), sum(v for _, v in some)
        elif form == 1:
            call, value = delayed(add)(some[0][0], extra), some[0][1] + extra
        elif form == 2:
            call, value = delayed(max)(*[d for d, _ in some], extra), max(*[v for _, v in some], extra)
        else:
            call, value = (
                delayed(sum)([extra, *(d for d, _ in some)], start=some[0][0]),
                extra + sum(v for _, v in some) + some[0][1],
            )
        made.append((call, value))
    assert list(compute(*[d for d, _ in made], scheduler=scheduler)) == [v for _, v in made]


def test_a_deep_and_a_wide_graph(scheduler: Any) -> None:
    x = delayed(0)
    for _ in range(3000):
        x = delayed(inc)(x)
    assert x.compute(scheduler=scheduler) == 3000
    level = [delayed(inc)(i) for i in range(2**10)]
    while len(level) > 1:
        level = [delayed(add)(a, b) for a, b in zip(level[::2], level[1::2])]
    assert level[0].compute(scheduler=scheduler) == 2**10 * (2**10 + 1) // 2


def test_futures_are_arguments(client: Client) -> None:
    x, y = client.submit(inc, 1), client.submit(inc, 2)
    total = delayed(sum)([x, delayed(inc)(y), 10])
    assert total.compute(scheduler=client) == 16
    assert total.compute(scheduler="threads") == 16
    assert delayed(add)(x, y).compute(scheduler=client) == 5


def test_the_users_exception_is_raised_as_it_was(scheduler: Any) -> None:
    def fail(x: int) -> int:
        raise KeyError(f"no {x}")

    with pytest.raises(KeyError, match="no 3") as caught:
        delayed(inc)(delayed(fail)(3)).compute(scheduler=scheduler)
    assert "fail[0]" in "".join(caught.value.__notes__) or "fail" in "".join(caught.value.__notes__)


def test_a_nest_that_contains_itself_is_a_cycle() -> None:
    nest: list[Any] = []
    nest.append((delayed(inc)(1), nest))
    with pytest.raises(InputError, match="cycle: a list in an argument contains itself"):
        delayed(sum)(nest)


def test_a_long_list_of_literals_is_no_trouble(scheduler: Any) -> None:
    assert delayed(sum)(list(range(1_000_000))).compute(scheduler=scheduler) == 499_999_500_000


def test_retries_are_the_clusters(client: Client, tmp_path: Any) -> None:
    def once(path: str) -> int:
        with open(path, "a") as file:
            file.write("x")
        with open(path) as file:
            if len(file.read()) < 3:
                raise OSError("try again")
        return 1

    assert delayed(once)(str(tmp_path / "tries")).compute(scheduler=client, retries=2) == 1


def test_processes(tmp_path: Any) -> None:
    import os

    pids = set(compute(*[delayed(os.getpid)() for _ in range(4)], scheduler="processes"))
    assert os.getpid() not in pids
    with pytest.raises(InputError, match="did you mean 'processes'"):
        delayed(inc)(1).compute(scheduler="proceses")
    assert delayed(inc)(1).compute(scheduler="synchronous") == 2


def test_threads_run_at_once() -> None:
    meeting = threading.Barrier(2, timeout=20)
    assert sorted(compute(*[delayed(meeting.wait)() for _ in range(2)], scheduler="threads")) == [0, 1]
