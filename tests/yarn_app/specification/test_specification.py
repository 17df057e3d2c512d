"""A specification is checked when it is written, and the error has the remedy."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from howdah.errors import SpecificationError
from howdah.yarn_app import Specification
from howdah.yarn_app.specification.fields import ALIASES, SpecificationFields
from howdah.yarn_app.specification.specification import FIELDS

MIB = 1 << 20


def test_names_of_dask_yarn_and_spark_are_taken() -> None:
    dask = Specification(
        n_workers=3, worker_vcores=2, worker_memory="2 GiB", scheduler_memory="1GiB", worker_env={"A": "b"}
    )
    spark = Specification(
        num_executors=3, executor_cores=2, executor_memory="2g", master_memory="1g", env_vars={"A": "b"}
    )
    assert dask == spark
    assert Specification(deploy_mode="remote").deploy_mode == "cluster"


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("worker_memory", 2, "'2GiB' or '512MiB'"),
        ("worker_memory", "2", "a number and a unit"),
        ("worker_memory", "0GiB", "more than nothing"),
        ("worker_cores", 0, "1 or more"),
        ("n_workers", -1, "0 or more"),
        ("n_workers", 1.5, "a whole number"),
        ("n_workers", True, "a whole number"),
        ("queue", "", "not empty"),
        ("deploy_mode", "edge", "'cluster' or 'client'"),
        ("locality", "always", "'auto' or 'off'"),
        ("lease", "soon", "seconds"),
        ("lease", 0, "seconds"),
        ("name", "a b", "letters"),
        ("files", ["a/x.txt", "b/x.txt"], "path#name"),
        ("files", {"a/b": "x"}, "no '/'"),
        ("files", ["x#environment"], "howdah uses that name itself"),
        ("env_vars", {"A": True}, "quote it"),
        ("env_vars", ["A"], "names and values"),
        ("worker_class", "Nanny", "one kind of worker"),
        ("port", 8786, "leave it out"),
    ],
)
def test_a_wrong_value_names_field_value_and_remedy(field: str, value: object, remedy: str) -> None:
    with pytest.raises(SpecificationError) as caught:
        Specification(**{field: value})
    text = str(caught.value)
    assert field in text
    assert remedy in text


def test_an_unknown_field_is_answered_with_near_names() -> None:
    with pytest.raises(SpecificationError, match=r"worker_memroy.*did you mean 'worker_memory'"):
        Specification(worker_memroy="1GiB")


def test_one_field_under_two_names_is_refused() -> None:
    with pytest.raises(SpecificationError, match="given twice"):
        Specification(worker_cores=1, worker_vcores=2)


def test_a_name_in_two_groups_of_files_is_refused() -> None:
    with pytest.raises(SpecificationError, match="also among files"):
        Specification(files=["x.zip"], py_files=["other/x.zip"])


def test_containers_have_sparks_overhead() -> None:
    assert Specification(worker_memory="1GiB").container_memory == (1024 + 384) * MIB
    assert Specification(worker_memory="10GiB").container_memory == 11 * 1024 * MIB
    alone, both = (Specification().master_container(with_driver=driver)[0] for driver in (False, True))
    assert both - alone == 1024 * MIB


texts = st.text("abcdefgh012", min_size=1, max_size=8)
specifications = st.fixed_dictionaries(
    {},
    optional={
        "name": texts,
        "tags": st.lists(texts, max_size=3),
        "n_workers": st.integers(0, 100),
        "worker_memory": st.integers(1, 4000).map("{}MiB".format),
        "lease": st.one_of(st.integers(1, 99), st.just("5min")),
        "env_vars": st.dictionaries(texts, st.text(max_size=9), max_size=3),
        "files": st.dictionaries(texts, texts, max_size=3),
        "max_failures": st.one_of(st.none(), st.integers(-1, 9)),
    },
)


@given(specifications)
def test_yaml_and_dict_round_trip(fields: dict[str, object]) -> None:
    spec = Specification(**fields)
    assert Specification.from_yaml(spec.to_yaml()) == spec
    assert Specification.from_dict(spec.to_dict(defaults=True)) == spec
    assert set(yaml.safe_load(spec.to_yaml(defaults=True))) == set(FIELDS)


def test_a_file_is_read_and_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("name: etl\nworker_memory: 3GiB\n")
    assert (
        Specification.from_yaml(path)
        == Specification.from_any(str(path))
        == Specification(name="etl", worker_memory="3g")
    )
    path.write_text("worker_memory: 3\n")
    with pytest.raises(SpecificationError) as caught:
        Specification.from_yaml(path)
    assert any(str(path) in note for note in caught.value.__notes__)
    with pytest.raises(SpecificationError, match="cannot be read: No such file"):
        Specification.from_yaml(tmp_path / "nix.yaml")
    with pytest.raises(SpecificationError, match="is not YAML"):
        Specification.from_yaml("a: [")


def test_replace_checks_again() -> None:
    spec = Specification(n_workers=2).replace(worker_vcores=4)
    assert (spec.n_workers, spec.worker_cores) == (2, 4)
    with pytest.raises(SpecificationError):
        spec.replace(n_workers="many")


def test_what_workers_offer_to_tasks_is_amounts_by_name() -> None:
    spec = Specification(worker_resources={"gpu": 1, "licence": "0.5"})
    assert spec.worker_resources == {"gpu": 1.0, "licence": 0.5}
    assert Specification.from_dict(spec.to_dict()) == spec
    for wrong in ({"gpu": 0}, {"gpu": "many"}, {"a b": 1}, ["gpu"]):
        with pytest.raises(SpecificationError, match="worker_resources"):
            Specification(worker_resources=wrong)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"files": ["a.csv", "b/#"]}, "files[1]: got 'b/#'"),
        ({"files": {"ok": "x", "tmp": "y"}}, "files.tmp: got 'tmp'"),
        ({"tags": ["a", "ä" * 200]}, "tags[1]: got"),
        ({"env_vars": {"A": None}}, "env_vars.A: got None"),
        ({"worker_resources": {"gpu": -1}}, "worker_resources.gpu: got"),
        ({"files": ["x.zip"], "py_files": ["other/x.zip"]}, "py_files.x.zip: got 'other/x.zip'"),
    ],
)
def test_the_path_inside_a_field_is_named(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(SpecificationError) as caught:
        Specification(**fields)
    assert path in str(caught.value)


def test_the_signature_lists_the_fields_and_their_defaults() -> None:
    found = inspect.signature(Specification).parameters
    assert tuple(found) == FIELDS
    assert {parameter.kind for parameter in found.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert Specification(**{name: parameter.default for name, parameter in found.items()}) == Specification()
    assert tuple(inspect.signature(Specification.replace).parameters)[1:] == FIELDS


def test_the_types_for_checkers_list_the_same_names() -> None:
    assert tuple(SpecificationFields.__annotations__) == (*FIELDS, *ALIASES)
    assert set(ALIASES.values()) <= set(FIELDS)


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Specification().n_workers = 3  # type: ignore[misc]
