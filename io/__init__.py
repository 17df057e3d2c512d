"""Files: file systems, block locations, Parquet by row group, atomic writes.

Called by the collections (`howdah.engine.frame`), by `yarn_app` and `envpack`'s callers, and by users who want an HDFS
handle of their own. It knows files and says which hosts hold them; it knows nothing of tasks, and imports nothing of
howdah but the errors. What it promises everywhere: errors name the path; a NameNode that restarts is waited for;
nothing is half-visible after a failed write; every handle can be pickled and opens its client where it is used.

Names are imported on first use: the configuration alone does not load pyarrow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from howdah.io.filesystem import FileSystem, open_filesystem
    from howdah.io.hadoop_config import HadoopConfig, load_hadoop_config
    from howdah.io.parquet_plan import ParquetTable, Piece, plan_parquet
    from howdah.io.parquet_read import scan_piece, scan_whole
    from howdah.io.parquet_write import PartInfo, WriteJob, WriteResult, begin_write
    from howdah.io.records import Block, FileInfo

_HOME = {
    "Block": "howdah.io.records",
    "FileInfo": "howdah.io.records",
    "FileSystem": "howdah.io.filesystem",
    "HadoopConfig": "howdah.io.hadoop_config",
    "ParquetTable": "howdah.io.parquet_plan",
    "PartInfo": "howdah.io.parquet_write",
    "Piece": "howdah.io.parquet_plan",
    "WriteJob": "howdah.io.parquet_write",
    "WriteResult": "howdah.io.parquet_write",
    "begin_write": "howdah.io.parquet_write",
    "load_hadoop_config": "howdah.io.hadoop_config",
    "open_filesystem": "howdah.io.filesystem",
    "plan_parquet": "howdah.io.parquet_plan",
    "scan_piece": "howdah.io.parquet_read",
    "scan_whole": "howdah.io.parquet_read",
}

__all__ = [
    "Block",
    "FileInfo",
    "FileSystem",
    "HadoopConfig",
    "ParquetTable",
    "PartInfo",
    "Piece",
    "WriteJob",
    "WriteResult",
    "begin_write",
    "load_hadoop_config",
    "open_filesystem",
    "plan_parquet",
    "scan_piece",
    "scan_whole",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'howdah.io' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
