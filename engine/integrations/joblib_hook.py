"""joblib learns the name "howdah": at once where it is loaded, else when it is; it is never loaded for that.

Called by `import howdah`; so `joblib.parallel_config("howdah")` works in any order of imports.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from typing import Any

MODULE = "joblib.parallel"


def register() -> None:
    """What joblib calls when the name is used for the first time."""
    from joblib import register_parallel_backend

    from howdah.engine.integrations.joblib_backend import HowdahBackend

    register_parallel_backend("howdah", HowdahBackend)


def install() -> None:
    """Tell joblib, now or when it is loaded."""
    loaded = sys.modules.get(MODULE)
    if loaded is not None and hasattr(loaded, "EXTERNAL_BACKENDS"):
        loaded.EXTERNAL_BACKENDS["howdah"] = register
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Sees joblib being loaded, once, and goes."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != MODULE:
            return None
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            run(module)
            install()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
