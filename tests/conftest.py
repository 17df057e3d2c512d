"""What every test shares: one small real Hadoop for the whole session, and nothing written under the user's home.

A test that needs Hadoop is marked `hadoop` and takes the fixture `hadoop`. It starts at its first use, and from then on
the environment has what a user's shell has after `eval "$(howdah mini env)"`. While working on one test, start a Hadoop
by hand and name its folder in HOWDAH_TEST_HADOOP: that one is used then, and left running.

Properties are tested with the same examples in every run; HYPOTHESIS_PROFILE=search looks for new ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

from howdah.yarn_app.mini import MiniHadoop
from howdah.yarn_app.mini.processes import containers_of, daemons_of

hypothesis.settings.register_profile("same", derandomize=True, database=None)
hypothesis.settings.register_profile("search")
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests of the machine's pace last: in `make test` nothing runs beside them by then."""
    items.sort(key=lambda item: item.get_closest_marker("pace") is not None)


@pytest.fixture(scope="session", autouse=True)
def _own_skein_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """skein keeps a TLS pair in ~/.skein; the user's own stays as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKEIN_CONFIG", str(tmp_path_factory.mktemp("skein")))
        yield


@pytest.fixture(scope="session")
def hadoop() -> Iterator[MiniHadoop]:
    """The session's Hadoop of two nodes, 127.0.0.2 and 127.0.0.3, ready; whoever kills a daemon restarts it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.fail("tests on Hadoop share one Hadoop: run them without pytest-xdist (-n 0)")
    running = os.environ.get("HOWDAH_TEST_HADOOP")
    # The second queue is for the tests of preemption; the first may use all of the cluster while nobody asks there.
    mini = MiniHadoop(running or None, queues="default:60,other:40")
    if running:
        dead = [name for name, process in mini.daemons.items() if process is None]
        assert not dead, f"HOWDAH_TEST_HADOOP={running}: {dead} do not run; start it with `howdah mini start`"
    else:
        mini.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in mini.env().items():
                patch.setenv(name, value)
            patch.delenv("HADOOP_USER_NAME", raising=False)
            yield mini
    finally:
        if not running:
            mini.stop()
    if not running:
        left = [*daemons_of(mini.folder).values(), *containers_of(mini.folder)]
        assert not left, f"processes of the small Hadoop outlived its stop: {left}"
