"""Options hold inside their block, in their thread, and come back after an error."""

from __future__ import annotations

import threading

import pytest

from howdah.engine.plan.options import CompileOptions, compile_options, current_options


def test_options_hold_inside_the_block_and_nest() -> None:
    assert current_options() == CompileOptions()
    with compile_options(fan_in=2):
        with compile_options(split_bytes=1):
            assert current_options() == CompileOptions(fan_in=2, split_bytes=1)
        assert current_options() == CompileOptions(fan_in=2)
    assert current_options() == CompileOptions()


def test_options_come_back_after_an_error() -> None:
    with pytest.raises(RuntimeError), compile_options(fan_in=2):
        raise RuntimeError
    assert current_options().fan_in == CompileOptions().fan_in


def test_other_threads_keep_theirs() -> None:
    seen: list[int] = []
    with compile_options(fan_in=2):
        thread = threading.Thread(target=lambda: seen.append(current_options().fan_in))
        thread.start()
        thread.join()
    assert seen == [CompileOptions().fan_in]


def test_an_option_that_is_not_there_is_refused() -> None:
    with pytest.raises(TypeError, match="fan_inn"), compile_options(fan_inn=2):
        pass
