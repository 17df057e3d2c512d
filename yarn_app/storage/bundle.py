"""The two small archives that travel with every application, unpacked by YARN as `howdah_app/` in each container.

    config.json      what the role needs to know (`read_config`)
    conf/            Hadoop's configuration as it is on the edge, with the application's `conf` above it
    security/        ca.pem, join.key; for the master also the scheduler's and the driver program's certificates

Made on the edge by `submission`, read in containers by `master` and `worker_role`. They are readable by their owner
alone, here and in HDFS; secrets are in no environment variable, argument or skein specification.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import howdah
from howdah.errors import EnvironmentMismatch, HowdahError

FOLDER = "howdah_app"
_SITES = ("core-site.xml", "hdfs-site.xml", "yarn-site.xml")


def versions() -> dict[str, str]:
    """What two ends of an application must agree on."""
    return {"python": "{}.{}".format(*sys.version_info[:2]), "howdah": howdah.__version__}


def write_bundles(
    folder: Path, config: Mapping[str, Any], conf_dir: Path, overrides: Mapping[str, str], user: str
) -> tuple[Path, Path]:
    """Make `master.tar.gz` and `worker.tar.gz` in `folder`, and the client's own security directory, `client`.

    A fresh authority is made for `config["token"]`, the cluster's name in all certificates.
    """
    from howdah.engine.comm.security.certificates import Authority

    authority = Authority.create(config["token"])
    conf = folder / "conf"
    _write_conf(conf, conf_dir, overrides)
    authority.write_client_dir(folder / "client", user)
    made = []
    for role in ("master", "worker"):
        tree = folder / role
        tree.mkdir(mode=0o700)
        shared = {key: value for key, value in config.items() if role == "master" or key != "driver"}
        (tree / "config.json").write_text(json.dumps(shared))
        shutil.copytree(conf, tree / "conf")
        if role == "master":
            authority.write_scheduler_dir(tree / "security" / "scheduler")
            shutil.copytree(folder / "client", tree / "security" / "client")
        else:
            authority.write_worker_dir(tree / "security" / "worker")
        target = folder / f"{role}.tar.gz"
        with (
            open(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file,
            tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as tar,
        ):
            for entry in sorted(tree.iterdir()):
                tar.add(entry, entry.name)
        shutil.rmtree(tree)
        made.append(target)
    return made[0], made[1]


def _write_conf(target: Path, source: Path, overrides: Mapping[str, str]) -> None:
    target.mkdir(mode=0o700)
    for file in sorted(source.glob("*.xml")):
        shutil.copyfile(file, target / file.name)
    for name in _SITES if overrides else ():
        path = target / name
        root = ElementTree.parse(path).getroot() if path.exists() else ElementTree.Element("configuration")
        for row in list(root.iter("property")):
            if (row.findtext("name") or "").strip() in overrides:
                root.remove(row)
        for key, value in overrides.items():
            row = ElementTree.SubElement(root, "property")
            ElementTree.SubElement(row, "name").text = key
            ElementTree.SubElement(row, "value").text = value
        ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def read_config(container: Path) -> dict[str, Any]:
    """What the edge wrote for this role.

    Raises
    ------
    EnvironmentMismatch
        This Python or this howdah is not the edge's.
    """
    path = container / FOLDER / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise HowdahError(
            f"{path} cannot be read ({error}): this runs only inside a container that howdah started"
        ) from error
    here, edge = versions(), config["versions"]
    for what in ("python", "howdah"):
        if here[what] != edge[what]:
            raise EnvironmentMismatch(
                f"the environment has {what} {here[what]} and the edge node, which submitted, has {edge[what]}: "
                "pack the environment from the one you work in (howdah env pack), or work in the one that is packed"
            )
    return config


def copy_security(container: Path, role: str) -> Path:
    """A copy of the role's security directory that nobody else can read; returns where it is.

    YARN decides the modes of what it unpacks, and other containers' processes may share its copy.
    """
    source, target = container / FOLDER / "security" / role, container / "private" / role
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    target.parent.chmod(0o700)
    for file in source.iterdir():
        with open(os.open(target / file.name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as copy:
            copy.write(file.read_bytes())
    return target
