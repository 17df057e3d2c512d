"""Records of environments: their JSON comes back, and fields of a newer howdah are ignored."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.envpack.records import Environment, Package, StoredEnvironment, entry_from_json

TEXT = st.text(max_size=8)
PACKAGES = st.lists(st.builds(Package, TEXT, TEXT, st.booleans()), max_size=3).map(tuple)


@given(
    st.builds(
        StoredEnvironment, hash=TEXT, names=st.tuples(TEXT), path=TEXT, url=TEXT, size=st.integers(0), python=TEXT,
        created=st.floats(0, 1e10), howdah=st.none() | TEXT, unpacked=st.none() | st.integers(0), packages=PACKAGES,
        left_out=PACKAGES, needs=st.dictionaries(TEXT, TEXT, max_size=2),
    )
)  # fmt: skip
def test_the_json_comes_back(entry: StoredEnvironment) -> None:
    values = entry.to_json()
    assert values["name"] == entry.names[0]
    text = json.dumps({**values, "a_field_of_a_newer_howdah": 1})
    assert entry_from_json(text, names=entry.names, path=entry.path, url=entry.url) == entry


@pytest.mark.parametrize("text", ["", "{}", '{"packages": [{}]}', "[1]"])
def test_other_text_is_an_error_of_its_content(text: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        entry_from_json(text, names=(), path="", url="")


def test_versions_are_found_by_normalised_names() -> None:
    packages = (Package("Foo_Bar", "1.2"), Package("howdah", "0.1", editable=True))
    environment = Environment("venv", "/x", "3.11.7", "0" * 32, packages, (), "linux-x86_64")
    assert environment.version_of("foo-bar") == "1.2"
    assert environment.version_of("nope") is None
    assert environment.editable == ("howdah",)
