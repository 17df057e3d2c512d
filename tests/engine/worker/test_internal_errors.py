"""Nothing on a task's way hangs a worker: each task ends with its value or a reason, and the next tasks run."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import howdah as hd
from howdah.engine.api import Client
from howdah.errors import HowdahError, Unpicklable

NO_UTF8 = os.fsdecode(b"caf\xe9.csv")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(n_workers=1, set_as_default=False) as client:
        yield client


@pytest.fixture(autouse=True)
def _worker_goes_on(client: Client) -> Iterator[None]:
    worker = client.submit(os.getpid, pure=False).result(30)
    yield
    assert client.submit(os.getpid, pure=False).result(30) == worker
    assert client.gather(client.map(abs, range(-50, 0), pure=False)) == list(range(50, 0, -1))


# -- texts that are no UTF-8 ------------------------------------------------------------------------------------------


def _parse(number: int) -> int:
    if number == 3:
        raise ValueError("cannot parse " + NO_UTF8)
    return number


def test_an_error_text_that_is_no_utf8_reaches_the_caller_and_harms_no_other_call(client: Client) -> None:
    futures = client.map(_parse, range(8))
    hd.wait(futures, timeout=30)
    assert [future.status for future in futures] == ["finished"] * 3 + ["error"] + ["finished"] * 4
    with pytest.raises(ValueError, match="cannot parse caf"):
        futures[3].result(30)


def _print() -> None:
    print("read", NO_UTF8)
    raise KeyError(NO_UTF8)


def test_printed_text_that_is_no_utf8_is_shown_escaped(client: Client) -> None:
    future = client.submit(_print)
    error = future.exception(30)
    assert type(error) is KeyError
    assert "read caf\\udce9.csv" in "\n".join(error.__notes__)
    assert any("caf" in line for _, lines in client.get_worker_logs(50).items() for _, line in lines)


def _note() -> None:
    error = RuntimeError("noted")
    error.add_note(NO_UTF8)
    raise error


def test_a_note_that_is_no_utf8_arrives(client: Client) -> None:
    error = client.submit(_note).exception(30)
    assert NO_UTF8 in error.__notes__


def test_a_key_that_is_no_utf8_is_a_key(client: Client) -> None:
    assert client.submit(abs, -5, key=NO_UTF8).result(30) == 5


def _identity(value: Any) -> Any:
    return value


def test_text_that_is_no_utf8_is_a_value(client: Client) -> None:
    assert client.submit(_identity, NO_UTF8).result(30) == NO_UTF8


def test_the_note_of_an_error_has_the_key_and_story_takes_it(client: Client) -> None:
    for key in (None, "load"):
        future = client.submit(_parse, 3, key=key, pure=False)
        assert f"key {future.key}" in "".join(future.exception(30).__notes__)
        assert client.story(future.key) == client.story(future) != []


# -- results that cannot be measured ----------------------------------------------------------------------------------


class Settings(dict):  # type: ignore[type-arg]
    __getattr__ = dict.__getitem__


class Odd:
    def __init__(self, nbytes: Any) -> None:
        self._nbytes = nbytes

    @property
    def nbytes(self) -> Any:
        return self._nbytes() if callable(self._nbytes) else self._nbytes


class OddSize:
    def __sizeof__(self) -> int:
        raise ValueError("no size")


class NegativeSize:
    def __sizeof__(self) -> int:
        return -1


class EndlessList(list):  # type: ignore[type-arg]
    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield 1

    def __reduce__(self) -> Any:
        return EndlessList, ()


class NoModule:
    __module__ = 3  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        return abs, (-1,)


def _exit() -> None:
    raise SystemExit(3)


def _recurse() -> int:
    return _recurse()


def _settings() -> Settings:
    return Settings(host="nn1", port=8020)


MEASURED: dict[str, Callable[[], Any]] = {
    "attributes of a dict": _settings,
    "nbytes exits": lambda: Odd(_exit),
    "nbytes recurses": lambda: Odd(_recurse),
    "nbytes is text": lambda: Odd("many"),
    "nbytes is negative": lambda: Odd(-5),
    "nbytes is huge": lambda: Odd(10**30),
    "nbytes is 2**63": lambda: Odd(2**63),
    "sizeof raises": OddSize,
    "sizeof is negative": NegativeSize,
    "in a list": lambda: [OddSize(), Odd(10**30), _settings()],
    "endless list": EndlessList,
    "module is a number": NoModule,
}


@pytest.mark.parametrize("make", MEASURED.values(), ids=MEASURED)
def test_a_result_that_cannot_be_measured_arrives(client: Client, make: Callable[[], Any]) -> None:
    future = client.submit(make, pure=False)
    assert future.exception(30) is None
    future.result(30)
    assert client.submit(type, future).result(30) is not None
    inner = client.submit(make, pure=False)  # not inline: only another task needs it
    assert client.submit(_kind, inner).result(30)


def _kind(value: Any) -> str:
    return type(value).__name__


# -- results and errors that cannot be pickled ------------------------------------------------------------------------


class Reduces:
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error("in __reduce__")


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, BaseException, ZeroDivisionError])
@pytest.mark.parametrize("large", [False, True])
def test_a_result_whose_pickling_raises_fails_with_the_reason(
    client: Client, error: type[BaseException], large: bool
) -> None:
    future = client.submit(_reduces, error.__name__, large, pure=False)
    with pytest.raises(Unpicklable, match=error.__name__):
        future.result(30)


def _reduces(name: str, large: bool) -> Any:
    import builtins

    return [Reduces(getattr(builtins, name)), bytes(3 << 20 if large else 1)]


# -- a worker's own errors --------------------------------------------------------------------------------------------


def _break(path: str, error: str) -> None:
    """Make a step of this worker raise."""
    import builtins
    import importlib

    module, _, name = path.rpartition(".")
    owner: Any = importlib.import_module(module)
    setattr(owner, "_whole_" + name, getattr(owner, name))

    def broken(*_: Any, **__: Any) -> Any:
        raise getattr(builtins, error)(f"{name} is broken")

    setattr(owner, name, broken)


def _mend(path: str) -> None:
    import importlib

    module, _, name = path.rpartition(".")
    owner: Any = importlib.import_module(module)
    setattr(owner, name, getattr(owner, "_whole_" + name))


@contextlib.contextmanager
def _broken(client: Client, path: str, error: str) -> Iterator[None]:
    client.run(_break, path, error)
    try:
        yield
    finally:
        client.run(_mend, path)


def _errors(dask_worker: Any) -> int:
    return int(dask_worker.errors.count)


ARRIVES = ""
"""In the place of a reason: the value arrives all the same."""

STEPS: list[tuple[str, str, bool]] = [
    # what is broken, the reason that the caller gets, whether it is counted as the worker's own error
    ("howdah.engine.worker.batches.QueuedBatch", "is broken", True),
    ("howdah.engine.worker.task_code.loads", "is broken", False),
    ("howdah.engine.worker.executor.import_named_packages", "is broken", True),
    ("howdah.engine.worker.executor.readers", "is broken", True),
    ("howdah.engine.worker.executor.measure", "is broken", True),
    ("howdah.engine.worker.store.results.size_of_value", "is broken", False),
    ("howdah.engine.worker.store.results.dumps_out_of_band", "is broken", False),
    ("howdah.engine.worker.store.sizeof._size_of", ARRIVES, False),
]


@pytest.mark.parametrize("error", ["MemoryError", "SystemExit"])
@pytest.mark.parametrize(("step", "reason", "counted"), STEPS, ids=[step for step, _, _ in STEPS])
def test_an_error_at_any_step_is_the_outcome_of_the_task(
    client: Client, step: str, reason: str, counted: bool, error: str
) -> None:
    if error == "SystemExit" and step.endswith("QueuedBatch"):
        pytest.skip("no user's code runs there")
    before = sum(client.run(_errors).values())
    source = client.submit(abs, -7)
    source.result(30)
    with _broken(client, step, error):
        future = client.submit(_pair, source if "readers" in step else 7, pure=False)
        hd.wait(future, timeout=30)
        failure = future.exception(30)
    assert reason in str(failure) if reason else failure is None
    assert (sum(client.run(_errors).values()) > before) == counted


def _pair(value: int) -> list[int]:
    return [value, 2]


# -- a client's messages ----------------------------------------------------------------------------------------------


def test_a_call_that_cannot_be_encoded_fails_at_once(client: Client) -> None:
    future = client.submit(abs, -5, retries=2**70)
    with pytest.raises(HowdahError, match="cannot be encoded"):
        future.result(30)


def _exit_here() -> None:
    raise SystemExit("opened")


class ExitsWhenOpened:
    def __reduce__(self) -> Any:
        return _exit_here, ()


@pytest.mark.parametrize("size", [1, 3 << 20])
def test_a_result_that_cannot_be_opened_here_raises_for_its_caller_alone(client: Client, size: int) -> None:
    with pytest.raises(SystemExit, match="opened"):
        client.submit(_exits_when_opened, size, pure=False).result(30)


def _exits_when_opened(size: int) -> Any:
    return [ExitsWhenOpened(), bytes(size)]


def test_a_callback_that_raises_does_not_end_the_next_one(client: Client) -> None:
    called = threading.Event()
    for call in (lambda future: _exit_here(), lambda future: 1 // 0, lambda future: called.set()):
        client.submit(abs, -8, pure=False).add_done_callback(call)
    assert called.wait(30)
