"""What every test of the engine shares: none leaves a client behind that later tests would use unasked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from howdah.engine.current import get_current


@pytest.fixture(scope="module", autouse=True)
def _no_client_stays() -> Iterator[None]:
    before = get_current()
    yield
    assert get_current() is before, f"{get_current()!r} is still the current client"
