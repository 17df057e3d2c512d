"""References to inputs in pickles, and calls on workers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from howdah.engine.serialization.references import (
    binding_inputs,
    encode_future,
    encoding_futures,
    input_reference,
    is_encoding_futures,
)


def test_a_reference_is_a_value_or_one_of_many() -> None:
    with binding_inputs(["whole", ["a", "b"]]):
        assert input_reference(0, -1) == "whole"
        assert input_reference(1, 1) == "b"


def test_a_future_has_a_place_only_while_arguments_are_pickled() -> None:
    assert not is_encoding_futures()
    assert encode_future("future") is None
    with encoding_futures(lambda future: (len(future), 0)):
        assert is_encoding_futures()
        assert encode_future("future") == (6, 0)
    assert not is_encoding_futures()


def test_outside_of_a_worker_a_reference_has_no_value() -> None:
    with pytest.raises((AttributeError, TypeError)):
        input_reference(0, 0)


def test_a_bound_thread_is_free_again_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), binding_inputs([SimpleNamespace()]):
        raise ZeroDivisionError
    with pytest.raises(TypeError):
        input_reference(0, -1)
