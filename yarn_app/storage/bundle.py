"""The two small archives that travel with every application, unpacked by YARN as `howdah_app/` in each container.

    config.json      the `ApplicationConfig`
    conf/            Hadoop's configuration as it is on the edge node, with the application's `conf` above it
    security/        ca.pem, join.key; for the master also the scheduler's and the driver program's certificates

For `submit`, which writes them on the edge node; containers read them through `storage.container_folder`. They are
readable by their owner alone, on the edge node and in HDFS. Secrets are in no environment variable, argument or skein
specification.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

import msgspec

from howdah.engine.comm.security.certificates import Authority
from howdah.yarn_app.protocol.config import ApplicationConfig
from howdah.yarn_app.storage.container_folder import CONFIG_FILE

_SITES = ("core-site.xml", "hdfs-site.xml", "yarn-site.xml")


def write_bundles(
    folder: Path, config: ApplicationConfig, conf_dir: Path, overrides: Mapping[str, str], user: str
) -> tuple[Path, Path]:
    """Write `master.tar.gz` and `worker.tar.gz` into `folder`, and the client's own security directory, `client`.

    A new certificate authority is made for the cluster.

    Parameters
    ----------
    folder
        Where to write.
    config
        The configuration; workers get it without the driver program.
    conf_dir
        Hadoop's configuration.
    overrides
        Hadoop properties that replace those of the configuration.
    user
        Whom the client's certificate names.
    """
    authority = Authority.create(config.token)
    conf = folder / "conf"
    _write_conf(conf, conf_dir, overrides)
    authority.write_client_dir(folder / "client", user)
    made = []
    for role, role_config in (("master", config), ("worker", msgspec.structs.replace(config, driver=None))):
        tree = folder / role
        tree.mkdir(mode=0o700)
        (tree / CONFIG_FILE).write_bytes(role_config.encode())
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
