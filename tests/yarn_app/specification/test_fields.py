"""The checks of single fields: what is accepted in several forms is stored in one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.errors import SpecificationError
from howdah.yarn_app.specification import fields

NAMES = st.text("abc.-_", min_size=1, max_size=8).filter(lambda name: name not in (".", "..", *fields.RESERVED))


@given(st.lists(st.text("abAB ,", max_size=5), max_size=5))
def test_tags_are_stored_once_sorted_and_in_lower_case(given_tags: list[str]) -> None:
    found = fields.tags("tags", given_tags)
    assert list(found) == sorted(set(found))
    assert fields.tags("tags", found) == found
    assert {tag.strip().lower() for tag in given_tags} - {""} == set(found)


@given(st.dictionaries(NAMES, st.text("xyz/", min_size=1, max_size=8)))
def test_a_list_and_a_mapping_of_paths_are_the_same(mapping: dict[str, str]) -> None:
    listed = [f"{source}#{name}" for name, source in mapping.items()]
    assert fields.paths("files", listed) == fields.paths("files", mapping) == mapping
    assert fields.paths("files", ",".join(listed)) == mapping


@pytest.mark.parametrize("value", [3, None, {"a": 1}.keys])
def test_what_is_no_list_of_paths_is_refused(value: object) -> None:
    with pytest.raises(SpecificationError, match=r"files: got .*a list of paths"):
        fields.paths("files", value)


def test_each_alias_is_renamed_and_each_field_stays() -> None:
    known = sorted(set(fields.ALIASES.values()))
    assert fields.rename_aliases(dict.fromkeys(known, 1), known) == dict.fromkeys(known, 1)
    for alias, field in fields.ALIASES.items():
        assert fields.rename_aliases({alias: 1}, known) == {field: 1}


def test_a_choice_accepts_the_words_of_other_tools() -> None:
    check = fields.choice("cluster", "client", also={"remote": "cluster"})
    assert [check("deploy_mode", word) for word in ("cluster", "client", "remote")] == ["cluster", "client", "cluster"]
    with pytest.raises(SpecificationError, match="deploy_mode: got 'here': give 'cluster' or 'client'"):
        check("deploy_mode", "here")
