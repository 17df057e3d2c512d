"""Calls as layers: a function of a notebook travels as it is now, whatever was pickled before."""

from __future__ import annotations

import pickle
from typing import Any

from howdah.engine.client.encoding import encode_call


def cell(source: str, names: dict[str, Any]) -> None:
    """Run a notebook's cell in the namespace `names`."""
    exec(source, names)


def sent(fn: Any, *args: Any) -> Any:
    """Return what a worker computes."""
    made = encode_call(fn, [args], {})
    opened, kwargs, _ = pickle.loads(made.code)
    try:
        return opened(*pickle.loads(made.args), **kwargs)
    except NameError as error:
        return error


def test_a_helper_that_a_later_cell_defines() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    cell("def clean(x):\n    return helper(x)", names)
    assert isinstance(sent(names["clean"], 5), NameError)
    cell("def helper(x):\n    return x + 1", names)
    assert sent(names["clean"], 5) == 6
    cell("def helper(x):\n    return inner(x)", names)
    assert isinstance(sent(names["clean"], 5), NameError)
    cell("def inner(x):\n    return -x", names)
    assert sent(names["clean"], 5) == -5
    del names["helper"]
    assert isinstance(sent(names["clean"], 5), NameError)


def test_a_builtin_that_a_later_cell_shadows() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    cell("def size(x):\n    return len(x)", names)
    assert sent(names["size"], "abc") == 3
    cell("def len(x):\n    return 'mine'", names)
    assert sent(names["size"], "abc") == "mine"
    del names["len"]
    assert sent(names["size"], "abc") == 3


def test_a_global_that_changes_and_code_that_is_replaced() -> None:
    names: dict[str, Any] = {"__name__": "__main__", "rate": 2}
    cell("def scaled(x):\n    return x * rate\ndef other(x):\n    return x\ndef third(x):\n    return 3", names)
    assert sent(names["scaled"], 5) == 10
    names["rate"] = 3
    assert sent(names["scaled"], 5) == 15
    assert sent(names["other"], 5) == 5
    names["other"].__code__ = names["third"].__code__
    assert sent(names["other"], 5) == 3


def test_keys_change_with_the_names_that_a_function_finds() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    cell("def size(x):\n    return len(x)", names)
    before = encode_call(names["size"], [("abc",)], {}).spec.key
    assert encode_call(names["size"], [("abc",)], {}).spec.key == before
    cell("def len(x):\n    return 'mine'", names)
    assert encode_call(names["size"], [("abc",)], {}).spec.key != before
