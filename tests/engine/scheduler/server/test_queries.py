"""What a running cluster answers: the story of a task, and requests that are wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from howdah.engine.api import Client
from howdah.engine.deploy.local import LocalCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
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
