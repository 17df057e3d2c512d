"""What the edge node refuses before anything is submitted; no Hadoop."""

from __future__ import annotations

from pathlib import Path

import pytest

from howdah.errors import HadoopNotFound, PathMissing, SpecificationError
from howdah.yarn_app.specification.specification import Specification
from howdah.yarn_app.submit.submit import connect_hadoop, submit
from howdah.yarn_app.ui.progress import QuietReporter


@pytest.fixture(autouse=True)
def no_hadoop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("job.py", "data.csv", "logs", "plain.txt"):
        (tmp_path / name).write_text("")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (Specification(files=["nix.csv"]), r"files: 'nix.csv' \(nix.csv\) is not a file here"),
        (Specification(py_files=["lib/"]), "py_files: 'lib/'"),
        (Specification(archives=["nix.zip#model"]), r"archives: 'nix.zip' \(model\)"),
    ],
)
def test_a_file_that_is_not_there_is_named_with_its_field(spec: Specification, text: str) -> None:
    with pytest.raises(PathMissing, match=text):
        submit(spec, QuietReporter())


def test_what_yarn_cannot_unpack_is_no_archive() -> None:
    with pytest.raises(SpecificationError, match=r"archives: got 'plain.txt': YARN unpacks"):
        submit(Specification(archives=["plain.txt"]), QuietReporter())


def test_a_script_that_is_not_there_is_named() -> None:
    with pytest.raises(PathMissing, match=r"the script 'nix\.py' does not exist"):
        submit(Specification(), QuietReporter(), program=("nix.py", []))


@pytest.mark.parametrize("script", ["logs", "data.csv"])
def test_the_name_of_a_script_may_not_be_taken(script: str) -> None:
    with pytest.raises(SpecificationError, match=rf"script: got '{script}'.*rename it"):
        submit(Specification(files={"data.csv": "plain.txt"}), QuietReporter(), program=(script, []))


def test_then_hadoop_is_looked_for() -> None:
    spec = Specification(files=["data.csv", "hdfs:///not/looked/at"])
    with pytest.raises(HadoopNotFound, match="HADOOP_CONF_DIR is not set"):
        submit(spec, QuietReporter(), program=("job.py", []))
    with pytest.raises(HadoopNotFound, match="HADOOP_CONF_DIR is not set"):
        connect_hadoop()
