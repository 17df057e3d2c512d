"""Folders of one worker's process: made under its local directory, with its number in their names, so that whoever sees
it die (its supervisor) can remove what it could not.
"""

from __future__ import annotations

import glob
import os
import shutil
import tempfile


def make_folder(parent: str, what: str) -> str:
    """A new folder for this process under `parent`, which is made if it is not there; '' is the temporary directory."""
    parent = parent or tempfile.gettempdir()
    os.makedirs(parent, exist_ok=True)
    return tempfile.mkdtemp(prefix=f"{_prefix(what, os.getpid())}", dir=parent)


def remove_folders_of(parent: str, pid: int) -> None:
    """Remove what the process `pid`, which is dead, has left there."""
    for folder in glob.glob(os.path.join(glob.escape(parent or tempfile.gettempdir()), _prefix("*", pid) + "*")):
        shutil.rmtree(folder, ignore_errors=True)


def _prefix(what: str, pid: int) -> str:
    return f"howdah-{what}-{pid}-"
