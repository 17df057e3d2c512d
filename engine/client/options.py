"""The options of `submit` and `map`, checked before anything is sent, so that a mistake is reported at the call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from howdah.engine.graph.annotations import active_annotations, parse_annotations, parse_seconds
from howdah.errors import InputError, bad_value, near

OPTIONS = (
    "key", "workers", "hosts", "resources", "retries", "priority", "allow_other_workers", "actor", "pure", "batch_size",
    "timeout",
)  # fmt: skip


def check_callable(fn: Any) -> None:
    """Raise InputError if `fn` cannot be called."""
    if not callable(fn):
        raise bad_value("fn", fn, "give a function (or another callable) first, then its arguments")


def check_keywords(fn: Callable[..., Any], kwargs: Mapping[str, Any], call: str) -> None:
    """Raise InputError for keywords that neither `call` nor the function has; it suggests similar ones."""
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
    """Return the names of the keywords that `fn` takes; None if it takes any, or has no signature."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))


_keywords_of = functools.lru_cache(maxsize=256)(_found)


class Options(NamedTuple):
    """The options of a call, completed by the `annotate` blocks around it, in the form of messages."""

    retries: int
    priority: int
    extras: dict[str, Any]
    """Further fields of the layer's spec."""


def options(
    call: str,
    retries: Any = None,
    priority: Any = None,
    resources: Any = None,
    workers: Any = None,
    allow_other_workers: Any = None,
) -> Options:
    """Check the options of a call and complete them. Raises InputError for a value that is not valid."""
    around = active_annotations()
    if retries is None and not priority and resources is None and workers is None and around is None:
        return _PLAIN
    checked = parse_annotations(
        call,
        retries=retries,
        priority=priority or None,
        resources=resources or None,
        workers=workers,
        allow_other_workers=allow_other_workers or None,
    ).with_defaults(around)
    extras = dict(checked.layer_fields())
    extras.pop("priority", None)
    return Options(checked.retries or 0, checked.priority or 0, extras)


_PLAIN = Options(0, 0, {})


def time_limit(fn: Callable[..., Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Take ``timeout=`` out of `kwargs` and return it as an annotation, unless the function takes (or may take) one.

    >>> given = {"timeout": 5}; time_limit(len, given), given
    ({'timeout': 5.0}, {})
    """
    known = _keywords(fn) if "timeout" in kwargs else None
    if known is None or "timeout" in known:
        return {}
    given = kwargs.pop("timeout")
    return {} if given is None else {"timeout": parse_seconds("timeout", given)}


def labels(key: Any, n: int, name: str) -> list[str] | None:
    """Return the keys that the user gave to `n` tasks; None if she gave none."""
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
