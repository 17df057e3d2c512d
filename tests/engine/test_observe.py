"""What a running cluster says of itself: stories of tasks, events, metrics, and graphs that stream in."""

from __future__ import annotations

import json
import threading
import urllib.request
from pathlib import Path

import pytest

from howdah.engine.api import Client
from howdah.engine.client.account import account
from howdah.engine.comm.connection.event_loop import loop_thread
from howdah.engine.deploy.local import LocalCluster
from howdah.engine.execution.dispatch import compute_graph
from howdah.engine.graph.encode import FIRST_PART, PART
from howdah.engine.graph.graph import Graph
from howdah.engine.protocol.layers import Broadcast, Dependency, Layer
from howdah.engine.scheduler.core.history import History
from howdah.engine.scheduler.server.status_page import StatusServer
from howdah.errors import Unpicklable


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(1) as made:
        yield made


def boom(x: int) -> float:
    return 1 / x


def test_the_story_of_a_task_tells_each_step_and_where(client: Client) -> None:
    future = client.submit(pow, 2, 3, pure=False)
    future.result()
    steps = client.story(future)
    assert [(step["old"], step["new"]) for step in steps] == [
        ("idle", "waiting"), ("waiting", "ready"), ("ready", "running"), ("running", "done")]  # fmt: skip
    assert steps[2]["worker"] == steps[3]["worker"] != ""
    assert steps[0]["at"] <= steps[3]["at"]
    assert steps[2]["run"] > 0


def test_the_story_of_a_failure_says_why(client: Client) -> None:
    future = client.submit(boom, 0, pure=False)
    assert isinstance(future.exception(), ZeroDivisionError)
    last = client.story(future.key)[-1]
    assert last["new"] == "failed"
    assert "division by zero" in last["reason"]


def test_a_key_that_is_none_is_said_to_be(client: Client) -> None:
    with pytest.raises(Exception, match="is no key of a task"):
        client.story("nonsense-3")


def test_a_chain_of_submits_is_answered_on_one_worker(client: Client) -> None:
    future = client.submit(abs, 0, pure=False)
    for _ in range(300):
        future = client.submit(lambda x: x + 1, future)
    assert future.result(30) == 300


def test_a_chain_behind_a_failure_fails_with_it(client: Client) -> None:
    future = client.submit(boom, 0, pure=False)
    for _ in range(50):
        future = client.submit(lambda x: x + 1, future)
    with pytest.raises(ZeroDivisionError):
        future.result(30)


def test_a_chain_behind_a_task_that_succeeds_at_its_second_try(client: Client, tmp_path: Path) -> None:
    flag = str(tmp_path / "tried")

    def second(path: str) -> int:
        import os

        if os.path.exists(path):
            return 1
        open(path, "w").close()
        raise OSError("not yet")

    future = client.submit(second, flag, retries=1)
    for _ in range(20):
        future = client.submit(lambda x: x + 1, future)
    assert future.result(30) == 21


def test_metrics_and_events_on_the_status_port(cluster: LocalCluster, client: Client) -> None:
    client.gather(client.map(abs, range(100), pure=False))
    loop = loop_thread()

    async def serve() -> StatusServer:
        page = StatusServer(cluster._server.queries, cluster._server.metrics)
        page.open()
        return page

    page = loop.call(serve())
    try:
        text = urllib.request.urlopen(page.url + "metrics", timeout=10).read().decode()
        samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert float(samples["howdah_tasks_completed_total"]) >= 100
        assert float(samples['howdah_transitions_total{from="running",to="done"}']) >= 100
        assert float(samples["howdah_workers"]) == 1
        assert text.count("# HELP") == text.count("# TYPE") >= 15
        events = json.load(urllib.request.urlopen(page.url + "events.json", timeout=10))
        assert {"idle", "waiting", "ready", "running"} <= {event["old"] for event in events}
    finally:
        loop.loop.call_soon_threadsafe(page.close)


def test_json_lines_hold_every_transition(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    history = History(most=2)
    history.write_to(str(path))
    for i in range(5):
        history.record(float(i), b"k", "inc", 0, 3, ("ready", "running"), "w", i + 1, 1)
    history.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["run"] for line in lines] == [1, 2, 3, 4, 5]
    assert len(history.entries) == 2
    assert history.counts["ready", "running"] == 15


def whole_graph(values: list[object]) -> tuple[Graph, object]:
    graph = Graph()
    first = graph.add(Layer("itself", one, len(values), args=[(value,) for value in values], pure=False))
    last = graph.add(Layer("total", sum, 1, deps=(Dependency(first, Broadcast()),), pure=False))
    return graph, graph.full_range(last)


def one(value: int) -> int:
    return value


def test_arguments_that_travel_in_parts_reach_their_items(client: Client) -> None:
    values = list(range(FIRST_PART + PART + 10))
    graph, wanted = whole_graph(values)
    assert compute_graph(graph, [wanted], scheduler=client) == [[sum(values)]]


def test_an_argument_that_cannot_travel_in_a_later_part_is_named_and_nothing_stays(client: Client) -> None:
    values: list[object] = [*range(FIRST_PART + 100), threading.Lock()]
    graph, wanted = whole_graph(values)
    with pytest.raises(Unpicklable, match=rf"itself\[{FIRST_PART + 100}\]"):
        compute_graph(graph, [wanted], scheduler=client)
    assert client.submit(abs, -5).result(30) == 5


def test_the_account_of_a_compute_tells_tasks_and_time_by_part(client: Client) -> None:
    client.gather(client.map(one, range(7), pure=False))
    with account(client) as cost:
        graph, wanted = whole_graph(list(range(50)))
        compute_graph(graph, [wanted], scheduler=client)
    assert {name: part["tasks"] for name, part in cost.parts.items()} == {"itself": 50, "total": 1}
    assert 0 < cost.total("seconds") < cost.wall * cost.slots + 0.1
    text = str(cost)
    assert text.startswith("51 tasks in ")
    assert "itself" in text
