"""`howdah submit`'s options, and that what follows the script is the script's."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from howdah.errors import SpecificationError
from howdah.yarn_app.cli import main
from howdah.yarn_app.cli.submit import command, specification_from_options
from howdah.yarn_app.specification.specification import Specification


def parsed(*words: str) -> tuple[Specification, str, tuple[str, ...]]:
    given = command.make_context("submit", list(words)).params
    script, arguments, spec_file = given.pop("script"), given.pop("arguments"), given.pop("spec_file")
    for name in ("no_wait", "as_json", "quiet"):
        given.pop(name)
    return specification_from_options(script, spec_file, given), script, arguments


@pytest.mark.parametrize(
    "arguments",
    [
        ("--workers", "9", "--env", "other"),
        ("--", "-n", "x"),
        ("a b", "", "--x=y", "it's", 'a "b"', "$HOME", "*"),
        ("--help",),
    ],
)
def test_what_follows_the_script_is_its_own(arguments: tuple[str, ...]) -> None:
    spec, script, rest = parsed("--workers", "3", "job.py", *arguments)
    assert (spec.n_workers, script, rest) == (3, "job.py", arguments)


def test_options_are_the_fields() -> None:
    spec, _, _ = parsed(
        "--env", "etl", "-n", "4", "--worker-memory", "3g", "--worker-cores", "2", "--driver-memory", "2GiB",
        "--queue", "prod", "--tags", "a,b", "--tags", "c", "--files", "x.csv,y.csv#z", "--py-files", "lib.zip",
        "--archives", "m.tar.gz#model", "--conf", "dfs.replication=1",
        "--env-var", "URL=http://h/?a=b", "--env-var", "EMPTY=", "--lease", "90s",
        "--deploy-mode", "client", "--node-label", "gpu", "job.py",
    )  # fmt: skip
    assert spec == Specification(
        name="job", environment="etl", n_workers=4, worker_memory="3GiB", worker_cores=2, driver_memory="2GiB",
        queue="prod", tags=("a", "b", "c"), files={"x.csv": "x.csv", "z": "y.csv"}, py_files={"lib.zip": "lib.zip"},
        archives={"model": "m.tar.gz"}, conf={"dfs.replication": "1"}, env_vars={"URL": "http://h/?a=b", "EMPTY": ""},
        lease=90, deploy_mode="client", node_label="gpu",
    )  # fmt: skip


def test_sparks_names_are_taken() -> None:
    spec, _, _ = parsed("--num-executors", "4", "--executor-memory", "3g", "--executor-cores", "2", "job.py")
    assert (spec.n_workers, spec.worker_memory, spec.worker_cores) == (4, "3GiB", 2)


def test_options_win_over_a_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("name: nightly\nn_workers: 7\nworker_memory: 4GiB\n")
    spec, _, _ = parsed("--spec", str(file), "--workers", "3", "job.py")
    assert (spec.name, spec.n_workers, spec.worker_memory) == ("nightly", 3, "4GiB")


def test_a_scripts_name_becomes_the_applications() -> None:
    assert parsed("/tmp/my job (2).py")[0].name == "my-job--2-"


def test_a_pair_needs_an_equals_sign() -> None:
    with pytest.raises(click.BadParameter, match="NAME=VALUE"):
        parsed("--env-var", "A", "job.py")


def test_a_wrong_value_is_exit_code_2_and_a_missing_script_is_said_at_once(tmp_path: Path) -> None:
    wrong = CliRunner().invoke(main, ["submit", "--worker-memory", "2", "job.py"])
    assert wrong.exit_code == 2
    assert "worker_memory: got '2': give a number and a unit" in wrong.output
    missing = CliRunner().invoke(main, ["submit", str(tmp_path / "nix.py")])
    assert missing.exit_code == 1
    assert f"the script '{tmp_path}/nix.py' does not exist" in missing.output
    both = CliRunner().invoke(main, ["submit", "--no-wait", "--deploy-mode", "client", "job.py"])
    assert both.exit_code == 2
    assert "only in cluster mode" in both.output


def test_no_wait_without_cluster_mode_is_a_specification_from_options_error() -> None:
    with pytest.raises(SpecificationError):
        parsed("--deploy-mode", "edge", "job.py")
