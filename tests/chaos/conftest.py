"""What the stories of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.counting import Counts
from chaos.parts import Parts


@pytest.fixture
def parts() -> Iterator[Parts]:
    """Processes over Unix sockets; at the end none may be left, nor any file."""
    made = Parts()
    try:
        yield made
    finally:
        left = made.end()
    assert not left, f"left behind: {left}"


@pytest.fixture
def counts(tmp_path: Path) -> Counts:
    return Counts(str(tmp_path / "executed"))
