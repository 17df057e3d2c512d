"""What every test of the engine shares: a small cluster a module, a client a test, and none that stays behind.

A module that needs another cluster has a fixture `cluster` of its own; `client` takes that one then.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from howdah.engine.api import Client
from howdah.engine.deploy.local import LocalCluster
from howdah.engine.execution.default_client import get_default_client


@pytest.fixture(scope="session", autouse=True)
def _workers_import_what_tests_do() -> Iterator[None]:
    """A test's functions are opened in workers by its module's name, and that module imports `waiting`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
        yield


@pytest.fixture(scope="module", autouse=True)
def _no_client_stays() -> Iterator[None]:
    before = get_default_client()
    yield
    assert get_default_client() is before, f"{get_default_client()!r} is still the current client"


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(2) as cluster:
        cluster.wait_for_workers()
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as client:
        yield client
