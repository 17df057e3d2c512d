"""Installed distributions are read from their metadata files, in all the layouts that installers leave."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

from howdah.envpack.distributions import InstalledDistribution, read_site


def dist_info(site: Path, name: str, version: str, **files: str) -> Path:
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file.replace("__", ".")).write_text(text)
    return folder


def only(site: Path) -> InstalledDistribution:
    (found,) = read_site(str(site))
    return found


def test_a_wheel(tmp_path: Path) -> None:
    metadata = (
        "Metadata-Version: 2.1\nName: Foo.Bar\nVersion: 1.0\nRequires-Dist: Num_Py>=1 ; python_version < '3'\n"
        "Requires-Dist: pytest ; extra == 'test'\nRequires-Dist: x @ file:///y\n\nName: of the description\n"
    )
    record = (
        'foo/__init__.py,sha256=abc,10\nfoo/x.py,md5=abc,11\n"foo/a,b.py",sha256=d,3\nfoo_bar-1.0.dist-info/RECORD,,\n'
    )
    folder = dist_info(tmp_path, "foo_bar", "1.0", METADATA=metadata, RECORD=record, top_level__txt="foo\n_foo\n")
    found = only(tmp_path)
    assert (found.name, found.key, found.version, found.info) == ("Foo.Bar", "foo-bar", "1.0", folder.name)
    assert found.requires == ("num-py", "x")
    assert found.top_level == ("foo", "_foo")
    assert found.files == {
        "foo/__init__.py": ("abc", 10),
        "foo/x.py": ("", 11),
        "foo/a,b.py": ("d", 3),
        "foo_bar-1.0.dist-info/RECORD": ("", -1),
    }
    assert found.recorded_at == (folder / "RECORD").stat().st_mtime_ns
    assert found.source is None


def test_an_editable_installation_names_its_folder(tmp_path: Path) -> None:
    direct = json.dumps({"url": "file:///home/her/my%20kit", "dir_info": {"editable": True}})
    dist_info(tmp_path, "kit", "2", METADATA="Name: kit\nVersion: 2\n", direct_url__json=direct)
    assert only(tmp_path).source == "/home/her/my kit"


def test_metadata_that_is_missing_or_damaged(tmp_path: Path) -> None:
    dist_info(tmp_path, "kit", "2")
    found = only(tmp_path)
    assert (found.name, found.version, found.requires, found.files, found.recorded_at) == ("kit", "2", (), {}, 0)
    dist_info(tmp_path / "other", "kit", "2", METADATA="Requires-Dist: ???\nRequires-Dist: numpy\n")
    assert only(tmp_path / "other").requires == ("numpy",)


def test_eggs(tmp_path: Path) -> None:
    (tmp_path / "old-1.0-py3.11.egg-info").write_text("Metadata-Version: 1.0\nName: Old\nVersion: 1.0\n")
    folder = tmp_path / "older-0.9.egg-info"
    folder.mkdir()
    (folder / "PKG-INFO").write_text("Name: older\nVersion: 0.9\nRequires-Dist: six\n")
    (folder / "top_level.txt").write_text("older\n")
    first, second = read_site(str(tmp_path))
    assert (first.name, first.version, first.requires) == ("Old", "1.0", ())
    assert (second.name, second.version, second.requires, second.top_level) == ("older", "0.9", ("six",), ("older",))


def test_a_link_to_a_checkout(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "my_kit.egg-info").mkdir(parents=True)
    (checkout / "my_kit.egg-info" / "PKG-INFO").write_text("Name: my-kit\nVersion: 3.1\nRequires-Dist: numpy\n")
    site = tmp_path / "site"
    site.mkdir()
    (site / "my-kit.egg-link").write_text(f"{checkout}\n.\n")
    found = only(site)
    assert (found.name, found.version, found.requires) == ("my-kit", "3.1", ("numpy",))
    assert (found.source, found.info) == (str(checkout), "my-kit.egg-link")


def test_the_running_environment_as_importlib_sees_it() -> None:
    """Names, versions and recorded files agree with `importlib.metadata` for all that is installed here."""
    site = str(Path(importlib.metadata.distribution("pytest").locate_file("")))
    theirs = {dist.name: dist for dist in importlib.metadata.distributions(path=[site])}
    ours = {dist.name: dist for dist in read_site(site)}
    assert {name: dist.version for name, dist in ours.items()} == {n: d.version for n, d in theirs.items()}
    recorded = {str(file): file.size for file in theirs["pytest"].files or ()}
    assert {name: size if size >= 0 else None for name, (_, size) in ours["pytest"].files.items()} == recorded
