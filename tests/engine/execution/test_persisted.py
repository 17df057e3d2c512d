"""Results in this process as layers of later graphs."""

from __future__ import annotations

import pytest

from howdah.engine.execution.persisted import InMemoryResults, literal_layer, values_of
from howdah.engine.execution.threads import compute_local
from howdah.engine.graph.graph import Graph, PersistedLayer
from howdah.errors import InputError


def test_a_literal_layer_has_the_key_and_the_values() -> None:
    persisted = PersistedLayer(b"k" * 16, 2, InMemoryResults(["a", "b"]))
    graph = Graph([literal_layer(persisted)])
    assert compute_local(graph, [graph.full_range(persisted.layer)], threads=0) == [["a", "b"]]


def test_results_that_are_gone_are_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r"6b6b are not in this process.*persist them again"):
        values_of(PersistedLayer(b"kk", 1))
