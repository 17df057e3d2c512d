"""Register the joblib backend "howdah": now if joblib is loaded, else when it is. joblib is never loaded for that.

Called by `import howdah`; so `joblib.parallel_config("howdah")` and `joblib.Parallel(backend="howdah")` work in
any order of imports, in tasks too.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from typing import Any

MODULE = "joblib.parallel"


def new_backend(**options: Any) -> Any:
    """Return a new backend. joblib calls it for each use of the name."""
    from howdah.engine.integrations.joblib_backend import HowdahBackend

    return HowdahBackend(**options)


def install() -> None:
    """Make joblib call `new_backend` for the name, now or when it is loaded."""
    loaded = sys.modules.get(MODULE)
    if loaded is not None and hasattr(loaded, "BACKENDS"):
        loaded.BACKENDS["howdah"] = new_backend  # `Parallel` looks here alone, `parallel_config` first
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Import hook that waits for `joblib.parallel`, and removes itself then."""

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
