"""What pages of earlier versions named can still be imported, with a warning that names its place now."""

from __future__ import annotations

import importlib
import sys

import pytest

import howdah


@pytest.mark.parametrize(("module", "name"), [("account", "account"), ("drawing", "visualize")])
def test_a_former_place_warns_and_works(module: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, f"howdah.engine.observe.{module}", raising=False)
    with pytest.warns(DeprecationWarning, match=f"from howdah import {name}"):
        former = importlib.import_module(f"howdah.engine.observe.{module}")
    assert getattr(former, name) is getattr(howdah, name)
