"""Folders of one worker's process, under its local directory. A leaf.

The number of the process is in their names, so that its supervisor can remove them after it has died.
"""

from __future__ import annotations

import glob
import os
import shutil
import tempfile


def make_folder(parent: str, what: str) -> str:
    """Make a new folder of this process under `parent` ('': the temporary directory), which is made if missing."""
    parent = parent or tempfile.gettempdir()
    os.makedirs(parent, exist_ok=True)
    return tempfile.mkdtemp(prefix=f"{_prefix(what, os.getpid())}", dir=parent)


def remove_folders_of(parent: str, pid: int) -> None:
    """Remove the folders that the dead process `pid` has left there."""
    for folder in glob.glob(os.path.join(glob.escape(parent or tempfile.gettempdir()), _prefix("*", pid) + "*")):
        shutil.rmtree(folder, ignore_errors=True)


def _prefix(what: str, pid: int) -> str:
    return f"howdah-{what}-{pid}-"
