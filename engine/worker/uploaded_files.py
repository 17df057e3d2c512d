"""Files that users upload: stored in a folder of the worker's, and importable. For `worker`.

A module that was imported from an earlier version is removed from `sys.modules`, so the next import gets the new one;
objects of the old one that tasks hold stay as they are.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Sequence

from howdah.engine.worker.store import scratch

ARCHIVES = (".zip", ".egg", ".whl")


class UploadedFiles:
    """The uploaded files of one worker. `folder` is made under `parent` for the first file."""

    def __init__(self, parent: str) -> None:
        self.folder, self._parent = "", parent

    def install(self, names: Sequence[str], frames: Sequence[memoryview]) -> None:
        """Write the files, and make imports find them."""
        if not self.folder:
            self.folder = scratch.make_folder(self._parent, "files")
            sys.path.insert(0, self.folder)
        for name, data in zip(names, frames):
            path = os.path.join(self.folder, os.path.basename(name))
            with open(path, "wb") as file:
                file.write(data)
            module = os.path.basename(name).partition(".")[0]
            if path.endswith(ARCHIVES):
                if path not in sys.path:
                    sys.path.insert(0, path)
                sys.path_importer_cache.pop(path, None)
            for loaded in [m for m in sys.modules if m == module or m.startswith(module + ".")]:
                if (getattr(sys.modules[loaded], "__file__", None) or "").startswith(self.folder):
                    del sys.modules[loaded]
        importlib.invalidate_caches()

    def close(self) -> None:
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
