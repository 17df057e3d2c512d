"""`howdah env`, as a person and as a script call it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from howdah.yarn_app.cli.env import command

if TYPE_CHECKING:
    from conftest import Venv

    from howdah.yarn_app.mini import MiniHadoop


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"file://{tmp_path_factory.mktemp('envs') / 'store'}"


def howdah_env(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def answer(*arguments: str) -> object:
    result = howdah_env(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_pack_list_inspect_remove(with_howdah: Venv, url: str) -> None:
    first = howdah_env("pack", "--name", "etl", "--prefix", str(with_howdah.path), "--store", url)
    assert first.exit_code == 0, first.output
    where, said = first.stdout.splitlines()
    hash_ = with_howdah.describe().hash
    assert where == f"{url}/{hash_}.tar.gz"
    assert said.startswith(f"hash {hash_}, ")
    assert "uploaded in" in said
    assert first.stderr == "", "quiet where nobody looks"

    again = howdah_env("pack", "--name", "etl", "--prefix", str(with_howdah.path), "--store", url)
    assert again.stdout.splitlines()[0] == where
    assert "unchanged: nothing uploaded" in again.stdout
    facts = answer("pack", "--prefix", str(with_howdah.path), "--store", url)
    assert isinstance(facts, dict)
    assert (facts["hash"], facts["uploaded"], facts["name"], facts["url"]) == (hash_, False, None, where)
    assert facts["size"] > 1_000_000

    table = howdah_env("list", "--store", url).stdout
    assert table.splitlines()[0].split() == ["NAME", "HASH", "PYTHON", "HOWDAH", "SIZE", "CREATED"]
    assert table.splitlines()[1].startswith(f"etl   {hash_[:12]}")
    listed = answer("list", "--store", url)
    assert isinstance(listed, list)
    assert [e["hash"] for e in listed] == [hash_]
    shown = howdah_env("inspect", "etl", "--store", url).stdout
    assert "msgspec" in shown
    assert "glibc 2." in shown
    inspected = answer("inspect", hash_[:8], "--store", url)
    assert inspected == listed[0]

    wrong = howdah_env("remove", "elt", "--store", url)
    assert wrong.exit_code == 1
    assert "did you mean 'etl'?" in wrong.stderr
    gone = howdah_env("remove", "etl", "--store", url)
    assert gone.stdout.startswith(f"removed {hash_} (etl): ")
    assert answer("list", "--store", url) == []


def test_pack_into_a_file(venv: Venv, tmp_path: Path) -> None:
    out = tmp_path / "env.tar.gz"
    facts = answer("pack", "--prefix", str(venv.path), "--output", str(out))
    assert isinstance(facts, dict)
    assert facts["path"] == str(out)
    assert facts["size"] == out.stat().st_size
    assert "checking" in facts["seconds"]
    both = howdah_env("pack", "--output", str(out), "--name", "etl")
    assert both.exit_code == 1
    assert "leave --name and --store away" in both.stderr


def test_names_of_packages_are_checked(venv: Venv, url: str) -> None:
    result = howdah_env("pack", "--prefix", str(venv.path), "--store", url, "--exclude", "msgspek")
    assert result.exit_code == 1
    assert "did you mean 'msgspec'?" in result.stderr


def test_without_hadoop_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    result = howdah_env("list")
    assert result.exit_code == 1
    assert "HADOOP_CONF_DIR" in result.stderr


def test_on_a_terminal_each_phase_is_a_line(with_howdah: Venv, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    arguments = ["env", "pack", "--prefix", str(with_howdah.path), "--store", f"file://{tmp_path}/store"]
    code = "from howdah.yarn_app.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=slave,
        env={**os.environ, "TERM": "dumb"},
    ) as child:
        os.close(slave)
        seen = b""
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            seen += chunk
        assert child.wait(60) == 0
    os.close(master)
    words = [line.split()[0] for line in seen.decode().replace("\r", "\n").splitlines() if line.rstrip().endswith(" s")]
    assert [w for w in words if w != "compiling"] == ["hashing", "packing", "checking", "uploading"]


@pytest.mark.hadoop
def test_on_real_hdfs(with_howdah: Venv, hadoop: MiniHadoop, tmp_path: Path) -> None:
    """The default store; a second pack of an unchanged environment takes less than two seconds, process and all."""
    code = "from howdah.yarn_app.cli import main; main()"

    def run(*arguments: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-c", code, "env", *arguments], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    prefix = str(with_howdah.path)
    first = json.loads(run("pack", "--name", "envtest", "--prefix", prefix, "--json"))
    assert first["url"].startswith("hdfs://")
    assert first["path"].endswith(f"/.howdah/envs/{first['hash']}.tar.gz")
    began = time.perf_counter()
    again = json.loads(run("pack", "--name", "envtest", "--prefix", prefix, "--json"))
    assert time.perf_counter() - began < 2.0
    assert (again["uploaded"], again["hash"]) == (False, first["hash"])
    entry = json.loads(run("inspect", "envtest", "--json"))
    assert entry["size"] == first["size"]
    own = with_howdah.copy(tmp_path / "env")
    (own.site / "more.py").write_text("x = 1\n")
    moved = json.loads(run("pack", "--name", "envtest", "--prefix", str(own.path), "--json"))
    assert moved["uploaded"]
    assert "envtest" in run("list")
    assert json.loads(run("remove", "envtest", "--json"))["hash"] == moved["hash"]
    run("remove", first["hash"])
    left = subprocess.run(
        ["hdfs", "dfs", "-ls", "-R", os.path.dirname(first["path"])], capture_output=True, text=True, check=True
    )
    assert first["hash"] not in left.stdout
    assert "envtest" not in left.stdout
