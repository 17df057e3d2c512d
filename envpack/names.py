"""Names for content: small files ``names/<name>@<counter>@<hash>``, of which the highest counter is valid.

Promises: a name never lacks its hash, on any file system: a change is a new file, and older ones are removed after it.
Two processes that point a name at the same time both succeed, and every reader then sees the same one. Called by
`store`.
"""

from __future__ import annotations

import posixpath
import time
from typing import Any, TypeAlias

Pointers: TypeAlias = dict[str, list[tuple[int, str, str]]]
"""Name -> (counter, hash, path), oldest first."""


def files(fs: Any, folder: str) -> dict[str, dict[str, Any]]:
    """Return the files of a folder by full path, as they are now; empty where there is no folder."""
    fs.invalidate_cache()
    try:
        found = fs.ls(folder, detail=True)
    except FileNotFoundError:
        return {}
    return {posixpath.join(folder, posixpath.basename(f["name"])): f for f in found if f["type"] == "file"}


def pointers(fs: Any, root: str) -> Pointers:
    """Return every name of a store.

    Reads the folder twice: a listing is no snapshot, and one during a change may show neither file of it.
    """
    found: Pointers = {}
    folder = posixpath.join(root, "names")
    for path in {**files(fs, folder), **files(fs, folder)}:
        parts = posixpath.basename(path).split("@")
        if len(parts) == 3 and parts[1].isdigit():
            found.setdefault(parts[0], []).append((int(parts[1]), parts[2], path))
    return {name: sorted(known) for name, known in found.items()}


def point(fs: Any, root: str, name: str, hash_: str) -> None:
    """Point a name to a hash; `root` must be there."""
    before = pointers(fs, root).get(name, [])
    if before and before[-1][1] == hash_:
        return
    folder = posixpath.join(root, "names")
    fs.makedirs(folder, exist_ok=True)
    counter = max(time.time_ns(), before[-1][0] + 1 if before else 0)
    with fs.open(posixpath.join(folder, f"{name}@{counter}@{hash_}"), "wb") as file:
        file.write(hash_.encode() + b"\n")
    remove(fs, [path for _, _, path in before])


def remove(fs: Any, paths: list[str]) -> None:
    """Remove pointers."""
    for path in paths:
        try:
            fs.rm(path)
        except FileNotFoundError:  # another publisher tidies as well
            continue
