"""The options of `submit` and `map`: checked before anything is sent, so that a slip of the pen is named at once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from howdah.engine.scheduler.records import LayerSpec
from howdah.errors import InputError, NotSupported, bad_value, near

OPTIONS = (
    "key", "workers", "hosts", "resources", "retries", "priority", "allow_other_workers", "actor", "pure", "batch_size",
)  # fmt: skip


def check_callable(fn: Any) -> None:
    if not callable(fn):
        raise bad_value("fn", fn, "give a function (or another callable) first, then its arguments")


def check_keywords(fn: Callable[..., Any], kwargs: Mapping[str, Any], call: str) -> None:
    """Keywords that neither `submit` nor the function knows are an InputError that names near ones."""
    if not kwargs:
        return
    known = _keywords(fn)
    if known is None:
        return
    for name in kwargs:
        if name not in known:
            raise InputError(
                f"{call}: unknown keyword {name!r}: {getattr(fn, '__name__', fn)!s} does not take it, and it is no "
                f"option of {call}; {near(name, [*known, *OPTIONS])}"
            )


def _keywords(fn: Callable[..., Any]) -> tuple[str, ...] | None:
    try:
        return _keywords_of(fn)
    except TypeError:  # not hashable
        return _found(fn)


def _found(fn: Callable[..., Any]) -> tuple[str, ...] | None:
    """Names of keywords that `fn` takes; None when that cannot be known, or it takes any."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))


_keywords_of = functools.lru_cache(maxsize=256)(_found)


def check_numbers(retries: Any, priority: Any) -> tuple[int, int]:
    """`retries` and `priority` as whole numbers; None is 0."""
    for name, value in (("retries", retries), ("priority", priority)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise bad_value(name, value, "give a whole number")
    if retries is not None and retries < 0:
        raise bad_value("retries", retries, "give a number from 0 on")
    return retries or 0, priority or 0


def extras(resources: Mapping[str, float] | None) -> dict[str, Any]:
    """Annotations that go into the layer's spec. Raises NotSupported where this scheduler knows no such thing."""
    if not resources:
        return {}
    for name, amount in resources.items():
        if not isinstance(amount, int | float) or amount <= 0:
            raise bad_value(f"resources[{name!r}]", amount, "give an amount above 0")
    if "resources" not in LayerSpec.__struct_fields__:
        raise NotSupported("resources: this scheduler keeps no account of resources; use hosts= or priority= instead")
    return {"resources": tuple(sorted((name, float(amount)) for name, amount in resources.items()))}


def labels(key: Any, n: int, name: str) -> list[str] | None:
    """The keys that the user gave to n tasks; None when she gave none."""
    if key is None:
        return None
    if isinstance(key, str):
        return [key] if n == 1 and name == "submit" else [f"{key}-{i}" for i in range(n)]
    if name == "map" and isinstance(key, Iterable) and not isinstance(key, bytes):
        given = list(key)
        if len(given) != n:
            raise bad_value("key", f"{len(given)} keys", f"give one for each of the {n} elements, or one text for all")
        if len(set(given)) != n:
            raise InputError("key: the same key is given twice")
        return given
    raise bad_value("key", key, "give a text")
