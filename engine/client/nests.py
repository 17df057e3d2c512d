"""Futures inside nests (`howdah.engine.graph.nests`): find them, and put values in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from howdah.engine.client.future import Future
from howdah.engine.client.future_registry import ranges_of
from howdah.engine.client.layer_results import DONE
from howdah.engine.client.waiting import Waiter
from howdah.engine.graph.nests import is_nest, parts_of, with_parts, without_parts
from howdah.errors import InputError


def nested_futures(nest: Any) -> list[Future]:
    """Return all futures in a nest, in order.

    Raises
    ------
    InputError : the nest is an iterator, which could be read only once.
    """
    if type(nest) is list and all(type(part) is Future for part in nest):
        return nest
    if isinstance(nest, Future):
        return [nest]
    if is_nest(nest):
        return [future for part in parts_of(nest) for future in nested_futures(part)]
    if hasattr(nest, "__next__") or type(nest).__name__ in ("dict_values", "generator"):
        raise InputError("gather: got an iterator, which can be read only once; make it a list first")
    return []


def substitute_values(nest: Any, values: Mapping[int, Any], skip: bool = False) -> Any:
    """Return the nest with each future replaced by its value.

    Parameters
    ----------
    values : by `id` of the future.
    skip : leave futures without a value out of the nest.
    """

    def wanted(part: Any) -> bool:
        return not (skip and isinstance(part, Future) and id(part) not in values)

    if isinstance(nest, Future):
        return values[id(nest)] if not skip else values.get(id(nest))
    if not is_nest(nest):
        return nest
    if skip:
        nest = without_parts(nest, wanted)
    return with_parts(nest, [substitute_values(part, values, skip) for part in parts_of(nest)])


def gather_nest(waiter: Waiter, nest: Any, futures: list[Future], skip: bool) -> Any:
    """Return the nest with the values of its futures; with `skip`, without failed ones."""
    if skip:
        waiter.wait(ranges_of(futures))
        futures = _finished(futures)
    return _with_values(nest, futures, waiter.results(ranges_of(futures)), skip)


async def gather_nest_async(waiter: Waiter, nest: Any, futures: list[Future], skip: bool) -> Any:
    """`gather_nest`, to be awaited."""
    if skip:
        await waiter.wait_async(ranges_of(futures))
        futures = _finished(futures)
    return _with_values(nest, futures, await waiter.results_async(ranges_of(futures)), skip)


def _finished(futures: list[Future]) -> list[Future]:
    return [future for future in futures if future.results.state[future.item] == DONE]


def _with_values(nest: Any, futures: list[Future], values: list[Any], skip: bool) -> Any:
    if not skip and type(nest) is list and len(futures) == len(nest):
        return values
    return substitute_values(nest, dict(zip(map(id, futures), values)), skip)
