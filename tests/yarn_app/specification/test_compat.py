"""Specifications of skein and dask-yarn: read, translated, or refused with the path."""

from __future__ import annotations

import pytest

from howdah.errors import SpecificationError
from howdah.yarn_app.specification.compat import translate
from howdah.yarn_app.specification.specification import Specification

MIB = 1 << 20


def test_skeins_specification_is_taken_where_it_is_howdahs() -> None:
    spec = Specification.from_yaml(
        """
        name: etl
        queue: prod
        master: {resources: {memory: 2 GiB, vcores: 1}}
        services:
          howdah.worker:
            instances: 5
            resources: {memory: 1408, vcores: 3}
            env: {A: b}
            files: {environment: "hdfs:///envs/etl.tar.gz", lookup.csv: data/lookup.csv, model: {source: m.zip, type:
            archive}}
        """
    )
    assert spec == Specification(
        name="etl", queue="prod", master_memory="2GiB", n_workers=5, worker_memory="1GiB", worker_cores=3,
        env_vars={"A": "b"}, environment="hdfs:///envs/etl.tar.gz",
        files={"lookup.csv": "data/lookup.csv"}, archives={"model": "m.zip"},
    )  # fmt: skip
    assert spec.container_memory == 1408 * MIB, "skein counts containers"


def test_a_skein_specification_of_something_else_is_refused() -> None:
    with pytest.raises(SpecificationError, match=r"services: got 'web'.*n_workers"):
        Specification.from_dict(
            {"services": {"web": {"script": "serve", "resources": {"memory": "1 GiB", "vcores": 1}}}}
        )
    with pytest.raises(SpecificationError, match="howdah writes it itself"):
        Specification.from_dict(
            {"services": {"howdah.worker": {"script": "x", "resources": {"memory": "1 GiB", "vcores": 1}}}}
        )


DASK_SERVICES = """
name: dask
queue: prod
services:
  dask.scheduler:
    resources: {memory: 1 GiB, vcores: 1}
    script: dask-yarn services scheduler
  dask.worker:
    instances: 4
    resources: {memory: 2 GiB, vcores: 2}
    max_restarts: 8
    depends: [dask.scheduler]
    files: {environment: environment.tar.gz}
    script: dask-yarn services worker
"""
DASK_TREE = """
yarn:
  name: nightly
  queue: prod
  deploy-mode: remote
  environment: conda:///opt/envs/etl
  worker: {count: 4, vcores: 2, memory: 4 GiB, restarts: -1, env: {A: b}}
  scheduler: {memory: 2 GiB, vcores: 1}
  client: {memory: 1 GiB}
"""


@pytest.mark.parametrize("written", [DASK_SERVICES, DASK_TREE])
def test_a_specification_for_dask_yarn_is_answered_with_its_translation(written: str) -> None:
    with pytest.raises(SpecificationError, match="dask-yarn") as caught:
        Specification.from_yaml(written)
    translation = str(caught.value).partition("\n\n")[2]
    spec = Specification.from_yaml(translation)
    assert (spec.queue, spec.n_workers, spec.worker_cores) == ("prod", 4, 2)
    if written is DASK_SERVICES:
        assert (spec.container_memory, spec.max_failures, spec.environment) == (2048 * MIB, 8, "environment.tar.gz")
    else:
        assert (spec.worker_memory, spec.master_memory, spec.environment) == ("4GiB", "2GiB", "current")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"services": ["howdah.worker"]}, "services: got"),
        ({"services": {"howdah.worker": 3}}, "services['howdah.worker']: got 3"),
        ({"services": {"howdah.worker": {"resources": {"memory": "lots"}}}}, ".resources.memory: got 'lots'"),
        ({"services": {"howdah.worker": {"resources": {"memory": 400}}}}, "a container needs 384 MiB"),
        ({"services": {"howdah.worker": {"files": {"a": {"type": "archive"}}}}}, ".files['a']: got"),
        ({"master": {"resources": {"memory": "much"}}}, "master.resources.memory: got 'much'"),
        ({"yarn": {"worker": 4}}, "yarn.worker: got 4"),
    ],
)
def test_the_path_of_what_is_wrong_is_named(given: dict[str, object], path: str) -> None:
    with pytest.raises(SpecificationError) as caught:
        translate(given)
    assert path in str(caught.value)


def test_howdahs_own_fields_are_left_as_they_are() -> None:
    fields = {"n_workers": 3, "wrong": 1}
    assert translate(fields).fields is fields
