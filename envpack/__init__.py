"""Python environments as artifacts: described, packed into one self-contained archive, checked, and stored by content.

What lives here
---------------
- `describe_environment`: the running (or another) conda, venv or uv environment and its content hash.
- `pack`: a local `.tar.gz` that runs from any folder, read-only too, on nodes without Python. `check_archive` proves
  it.
- `EnvStore`: a folder of a file system (HDFS) with one archive per content, and names for them.
- `check_compatible`: refuses an environment with another Python or howdah, with both versions in the message.
- `exclusions`: the one list of what is left out.

Who may call it: `yarn_app` and users, on an edge node or a laptop: it needs the libraries of `pip install
'howdah[yarn]'`, and workers do not. It imports nothing of howdah but `howdah.errors`. It promises to write nothing in
the environment that it packs and nothing in a user's checkout.
"""

import warnings

from howdah.errors import EnvironmentMismatch

try:
    from howdah.envpack.archive import pack
    from howdah.envpack.check import check_archive, check_compatible
    from howdah.envpack.environment import describe_environment
    from howdah.envpack.records import Archive, Environment, Package, Progress, Published, StoredEnvironment
    from howdah.envpack.store import EnvStore
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] == "howdah":
        raise
    raise EnvironmentMismatch(f"packing environments needs {error.name}: pip install 'howdah[yarn]'") from error

__all__ = [
    "Archive",
    "EnvStore",
    "Environment",
    "Package",
    "Progress",
    "Published",
    "StoredEnvironment",
    "check_archive",
    "check_compatible",
    "describe_environment",
    "pack",
]


def __getattr__(name: str) -> object:
    if name == "Entry":
        warnings.warn("howdah.envpack.Entry is now named StoredEnvironment", DeprecationWarning, stacklevel=2)
        return StoredEnvironment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
