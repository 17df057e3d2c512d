"""joblib and scikit-learn on a cluster: the same answers as in one process, and large arguments sent once."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from joblib import Parallel, delayed, effective_n_jobs, parallel_config

from howdah.engine.api import Client
from howdah.engine.coordination import Event
from howdah.engine.deploy.local import LocalCluster
from howdah.errors import InputError


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with LocalCluster(2) as cluster, Client(cluster) as client:
        cluster.wait_for_workers()
        yield client


def square(x: int) -> int:
    return x * x


def where(_: int) -> int:
    return os.getpid()


def fail(x: int) -> int:
    if x == 7:
        raise ValueError("seven")
    return x


def row_sum(array: np.ndarray[Any, Any], row: int) -> tuple[float, bool, int]:
    return float(array[row].sum()), array.flags.writeable, os.getpid()


def nested(n: int) -> list[int]:
    return Parallel(n_jobs=2)(delayed(square)(i) for i in range(n))  # type: ignore[no-any-return]


def test_calls_run_on_the_workers_in_order(client: Client) -> None:
    with parallel_config("howdah"):
        assert Parallel()(delayed(square)(i) for i in range(300)) == [i * i for i in range(300)]
        pids = set(Parallel(batch_size=1)(delayed(where)(i) for i in range(20)))
    workers = {worker["pid"] for worker in client.scheduler_info()["workers"].values()}
    assert pids <= workers
    assert os.getpid() not in pids


def test_jobs_as_asked_for(client: Client) -> None:
    with parallel_config("howdah"):
        parallel = Parallel()
        assert parallel._effective_n_jobs() == 2  # noqa: SLF001  # joblib's hook of that name
        assert Parallel(n_jobs=-2)._effective_n_jobs() == 1  # noqa: SLF001  # joblib's hook of that name
        assert Parallel(n_jobs=5)._effective_n_jobs() == 5  # noqa: SLF001  # joblib's hook of that name
        assert Parallel(n_jobs=1)(delayed(where)(i) for i in range(2)) == [os.getpid()] * 2
    with pytest.raises(InputError, match="hots"), parallel_config("howdah", hots=["a"], n_jobs=2):
        Parallel()(delayed(square)(i) for i in range(2))


def test_a_failing_call_raises_its_own_exception_and_ends_the_rest(client: Client) -> None:
    with parallel_config("howdah"), pytest.raises(ValueError, match="seven"):
        Parallel(batch_size=1)(delayed(fail)(i) for i in range(100))
    with parallel_config("howdah"):
        assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]


def test_generators_and_timeouts(client: Client) -> None:
    with parallel_config("howdah"):
        results = Parallel(return_as="generator")(delayed(square)(i) for i in range(50))
        assert next(results) == 0
        assert sum(results) == sum(i * i for i in range(1, 50))
        event = Event(client=client)
        with pytest.raises(multiprocessing.TimeoutError):  # which is joblib's
            Parallel(timeout=0.2)(delayed(event.wait)(20) for _ in range(2))
        event.set()


def squares_in_a_task(n: int) -> tuple[str, list[int]]:
    parallel = Parallel(n_jobs=2, backend="howdah")
    return type(parallel._backend).__name__, parallel(delayed(square)(i) for i in range(n))  # noqa: SLF001  # joblib's name


def test_the_backend_by_name(client: Client) -> None:
    parallel = Parallel(n_jobs=2, backend="howdah")
    assert os.getpid() not in parallel(delayed(where)(i) for i in range(4))
    assert Parallel(backend="howdah").n_jobs == -1
    assert client.submit(squares_in_a_task, 3).result(60) == ("HowdahBackend", [0, 1, 4])
    with parallel_config("howdah"):
        assert effective_n_jobs(None) == effective_n_jobs(-1) == 2


class Model:
    """Remembers what it was fitted to, as estimators do."""

    def __init__(self) -> None:
        self.rows: Any = None

    def fit(self, rows: Any) -> "Model":
        self.rows = rows
        return self


def append(kept: list[int], value: int) -> list[int]:
    kept.append(value)
    return kept


@pytest.mark.parametrize("batch_size", [1, 4])
def test_calls_in_one_batch_share_nothing(client: Client, batch_size: int) -> None:
    model, kept = Model(), [0]
    with parallel_config(backend="howdah"):
        parallel = Parallel(n_jobs=2, batch_size=batch_size)
        assert [m.rows for m in parallel(delayed(model.fit)(i) for i in range(8))] == list(range(8))
        assert parallel(delayed(append)(kept, i) for i in range(4)) == [[0, i] for i in range(4)]


def test_a_large_argument_is_sent_once(client: Client) -> None:
    array = np.random.default_rng(0).random((64, 50_000))
    sent: list[int] = []
    send = client.connection.send

    def counted(message: Any, *frames: Any) -> None:
        sent.append(sum(memoryview(frame).nbytes for frame in frames))
        send(message, *frames)

    client.connection.send = counted  # type: ignore[method-assign]
    try:
        with parallel_config("howdah"):
            found = Parallel(batch_size=1)(delayed(row_sum)(array, row) for row in range(64))
    finally:
        del client.connection.send  # type: ignore[method-assign]
    assert [total for total, _, _ in found] == [float(row.sum()) for row in array]
    assert not any(writeable for _, writeable, _ in found)
    assert array.nbytes <= sum(sent) < 1.1 * array.nbytes


def test_nested_calls(client: Client) -> None:
    """Every slot runs a task that waits for tasks of its own."""
    with parallel_config("howdah"):
        found = Parallel(batch_size=1)(delayed(nested)(n) for n in range(8))
    assert found == [[i * i for i in range(n)] for n in range(8)]


@pytest.mark.slow  # scikit-learn's import, twice
def test_a_search_of_scikit_learn_gives_what_it_gives_in_one_process() -> None:
    # One worker: what takes long is the import of scikit-learn.
    with LocalCluster(1, threads_per_worker=2) as cluster, Client(cluster):
        search_both_ways()


def search_both_ways() -> None:
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV

    features, labels = make_classification(300, 12, random_state=0)

    def search(forest_jobs: int | None) -> Any:
        forest = RandomForestClassifier(5, random_state=0, n_jobs=forest_jobs)
        return GridSearchCV(forest, {"max_depth": [2, 4], "min_samples_leaf": [1, 5]}, cv=3).fit(features, labels)

    with parallel_config("sequential"):
        expected = search(None)
    for jobs in (None, 2):
        with parallel_config("howdah"):
            found = search(jobs)
        assert found.best_params_ == expected.best_params_
        for name, values in expected.cv_results_.items():
            if name.endswith("_score"):
                np.testing.assert_array_equal(found.cv_results_[name], values)
        np.testing.assert_array_equal(found.predict(features), expected.predict(features))


@pytest.mark.parametrize("imports", ["import joblib, howdah", "import howdah, joblib"])
def test_the_name_is_known_whatever_is_imported_first(imports: str) -> None:
    code = f"""
import sys
{imports}
assert "howdah.engine.integrations.joblib_backend" not in sys.modules
try:
    with joblib.parallel_config("howdah", n_jobs=2):
        joblib.Parallel()(joblib.delayed(abs)(i) for i in range(2))
except howdah.errors.HowdahError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "there is no client in this process" in done.stdout, done.stderr
