"""A container's working folder: the configuration and the security directories that YARN unpacked from a bundle.

For `master` and `worker`. It imports little, as each worker pays for it before it starts. `storage.bundle` writes what
is read here.
"""

from __future__ import annotations

import os
from pathlib import Path

from howdah.errors import HowdahError
from howdah.yarn_app.protocol.config import ApplicationConfig

FOLDER = "howdah_app"
"""The name of the unpacked bundle."""

CONFIG_FILE = "config.json"


def read_config(container: Path) -> ApplicationConfig:
    """Return the configuration that the edge node wrote for the role of this container.

    Raises
    ------
    EnvironmentMismatch
        This Python or this howdah is not the edge node's.
    HowdahError
        There is none, or one of its fields is wrong; the message has the path of the field.
    """
    path = container / FOLDER / CONFIG_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HowdahError(
            f"{path} cannot be read ({error}): this runs only inside a container that howdah started"
        ) from error
    return ApplicationConfig.decode(data, str(path))


def copy_security(container: Path, role: str) -> Path:
    """Copy the role's security directory to where only the owner can read it; return where that is.

    YARN decides the modes of what it unpacks, and other containers' processes may share its copy.
    """
    source, target = container / FOLDER / "security" / role, container / "private" / role
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    target.parent.chmod(0o700)
    for file in source.iterdir():
        with open(os.open(target / file.name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as copy:
            copy.write(file.read_bytes())
    return target
