"""Hadoop's configuration as Hadoop reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.errors import HadoopNotFound, InputError
from howdah.io.hadoop.config import HadoopConfig, NameNode, load_hadoop_config, substitute


def write(folder: Path, name: str, *properties: str, head: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    body = "\n".join(properties)
    text = f'<configuration xmlns:xi="http://www.w3.org/2001/XInclude">{head}{body}</configuration>'
    (folder / name).write_text(text)
    return folder


def prop(name: str, value: str, final: bool = False) -> str:
    mark = "<final>true</final>" if final else ""
    return f"<property><name>{name}</name><value>{value}</value>{mark}</property>"


def test_later_files_win_unless_an_earlier_one_is_final(tmp_path: Path) -> None:
    write(tmp_path, "core-site.xml", prop("a", "core"), prop("b", "core", final=True), prop("c", "core"))
    write(tmp_path, "hdfs-site.xml", prop("a", "hdfs"), prop("b", "hdfs"))
    write(tmp_path, "yarn-site.xml", prop("a", "yarn"), prop("b", "yarn"))
    config = load_hadoop_config(tmp_path)
    assert [config.get(name) for name in "abcd"] == ["yarn", "core", "core", None]


def test_xinclude_relative_nested_and_with_fallback(tmp_path: Path) -> None:
    write(tmp_path / "more", "deep.xml", prop("deep", "1"))
    write(tmp_path / "more", "shared.xml", prop("shared", "1"), head='<xi:include href="deep.xml"/>')
    include = '<xi:include href="more/shared.xml"/>'
    fallback = f'<xi:include href="nowhere.xml"><xi:fallback>{prop("fell", "back")}</xi:fallback></xi:include>'
    write(tmp_path, "core-site.xml", prop("own", "1"), head=include + fallback)
    config = load_hadoop_config(tmp_path)
    assert [config.get(name) for name in ("deep", "shared", "own", "fell")] == ["1", "1", "1", "back"]


def test_xinclude_to_nowhere_and_in_a_circle_names_the_file(tmp_path: Path) -> None:
    write(tmp_path, "core-site.xml", head='<xi:include href="nowhere.xml"/>')
    with pytest.raises(HadoopNotFound, match=r"core-site.xml: XInclude of 'nowhere.xml'"):
        load_hadoop_config(tmp_path)
    write(tmp_path, "core-site.xml", head='<xi:include href="core-site.xml"/>')
    with pytest.raises(HadoopNotFound, match="leads back"):
        load_hadoop_config(tmp_path)


def test_attributes_whitespace_and_deprecated_names(tmp_path: Path) -> None:
    write(tmp_path, "core-site.xml", '<property name="x" value="1"/>', prop("fs.default.name", "\n  hdfs://nn:1/  \n"))
    config = load_hadoop_config(tmp_path)
    assert config.get("x") == "1"
    assert config.get("fs.defaultFS") == config.get("fs.default.name") == "hdfs://nn:1/"
    assert config.default_filesystem == "hdfs://nn:1"


def test_environment_in_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET", "here")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    text = "${env.SET} ${env.SET:-d} ${env.EMPTY:-d} [${env.EMPTY-d}] ${env.UNSET-d} ${env.UNSET:-d} ${env.UNSET}"
    assert substitute(text, {}) == "here here d [] d d ${env.UNSET}"


def test_a_circle_of_variables_ends() -> None:
    assert "${" in substitute("${a}", {"a": "x${b}", "b": "${a}"})


@given(st.lists(st.lists(st.one_of(st.sampled_from("xyz"), st.integers(0, 5)), max_size=3), min_size=1, max_size=5))
def test_substitution_is_what_expanding_by_hand_gives(parts: list[list[str | int]]) -> None:
    """Value i may use only properties before i, so the expansion is finite (and here within Hadoop's 20 steps)."""
    values = {
        f"p{i}": "".join(p if isinstance(p, str) else f"${{p{p}}}" for p in row if isinstance(p, str) or p < i)
        for i, row in enumerate(parts)
    }

    def steps(i: int) -> int:
        return sum(1 + steps(p) for p in parts[i] if isinstance(p, int) and p < i)

    def expand(i: int) -> str:
        return "".join(p if isinstance(p, str) else expand(p) for p in parts[i] if isinstance(p, str) or p < i)

    for i in range(len(parts)):
        if steps(i) < 20:
            assert substitute(values[f"p{i}"], values) == expand(i)


def test_high_availability_lists_every_namenode() -> None:
    config = HadoopConfig({
        "dfs.nameservices": "ns1, other", "dfs.ha.namenodes.ns1": "a,b",
        "dfs.namenode.rpc-address.ns1.a": "h1:8020", "dfs.namenode.rpc-address.ns1.b": "h2",
        "dfs.namenode.http-address.ns1.a": "0.0.0.0:50070",
    })  # fmt: skip
    assert config.is_nameservice("ns1")
    assert config.namenodes("ns1") == (NameNode("h1:8020", "h1:50070"), NameNode("h2:8020", "h2:9870"))
    assert config.namenodes("h9:9000") == (NameNode("h9:9000", "h9:9870"),)


def test_a_nameservice_without_addresses_says_which_property_is_missing() -> None:
    config = HadoopConfig({"dfs.ha.namenodes.ns1": "a"})
    with pytest.raises(InputError, match=r"set dfs.namenode.rpc-address.ns1.a"):
        config.namenodes("ns1")


def test_https_only() -> None:
    config = HadoopConfig({"dfs.http.policy": "HTTPS_ONLY"})
    assert config.namenodes("h:1") == (NameNode("h:1", "", "h:9871"),)


def test_federation_finds_the_web_address_of_one_namenode() -> None:
    values = {"dfs.nameservices": "x", "dfs.namenode.rpc-address.x": "h:1", "dfs.namenode.http-address.x": "h:2"}
    assert HadoopConfig(values).namenodes("h:1") == HadoopConfig(values).namenodes("x") == (NameNode("h:1", "h:2"),)


def test_what_travels_is_only_what_reaching_a_file_system_needs() -> None:
    config = HadoopConfig({"dfs.replication": "${r}", "r": "2", "yarn.resourcemanager.address": "x"})
    assert config.connection() == {"dfs.replication": "2"}


def test_sizes() -> None:
    assert HadoopConfig({"s": "64k"}).get_bytes("s", 0) == 65536
    assert HadoopConfig({}).get_bytes("s", 7) == 7
    with pytest.raises(InputError, match="128m"):
        HadoopConfig({"s": "big"}).get_bytes("s", 0)


@pytest.mark.parametrize("missing", ["unset", "no folder", "no files", "not xml"])
def test_what_is_missing_is_named(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    monkeypatch.delenv("HADOOP_HOME", raising=False)
    folder = tmp_path / "conf"
    if missing != "unset":
        monkeypatch.setenv("HADOOP_CONF_DIR", str(folder))
    if missing in ("no files", "not xml"):
        folder.mkdir()
    if missing == "not xml":
        (folder / "core-site.xml").write_text("<configuration>")
    words = {
        "unset": "HADOOP_CONF_DIR is not set: export it",
        "no folder": "no such folder",
        "no files": "core-site.xml, hdfs-site.xml, yarn-site.xml",
        "not xml": "core-site.xml: not readable",
    }
    with pytest.raises(HadoopNotFound, match=words[missing]):
        load_hadoop_config()
