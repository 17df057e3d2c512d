"""Files: file systems, Hadoop's configuration and locations, readers of tables, Parquet, atomic writes.

Called by the collections (`howdah.engine.frame`), by `yarn_app` and `envpack`'s callers, and by users who need an HDFS
handle of their own. It finds the hosts that hold a file's bytes; it imports nothing of the engine. What it promises
everywhere: errors name the path; a NameNode that restarts is waited for; a failed write leaves nothing half-visible;
every handle can be pickled and opens its client where it is used.

Names are imported on first use: the configuration alone does not load pyarrow.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from howdah.io.filesystem.block_locations import preferred_hosts
    from howdah.io.filesystem.filesystem import FileSystem, open_filesystem
    from howdah.io.hadoop.config import HadoopConfig, load_hadoop_config
    from howdah.io.hadoop.records import Block, FileInfo
    from howdah.io.parquet.read import scan_split, scan_whole
    from howdah.io.parquet.split import ParquetSplit
    from howdah.io.parquet.table import ParquetTable, plan_parquet
    from howdah.io.parquet.write import PartInfo, WriteJob, WriteResult, begin_write
    from howdah.io.readers.registry import find_reader, installed_readers, open_table
    from howdah.io.readers.table import TARGET_BYTES, Condition, Split, TableSource

_HOME = {
    "Block": "howdah.io.hadoop.records",
    "Condition": "howdah.io.readers.table",
    "FileInfo": "howdah.io.hadoop.records",
    "FileSystem": "howdah.io.filesystem.filesystem",
    "HadoopConfig": "howdah.io.hadoop.config",
    "ParquetSplit": "howdah.io.parquet.split",
    "ParquetTable": "howdah.io.parquet.table",
    "PartInfo": "howdah.io.parquet.write",
    "Split": "howdah.io.readers.table",
    "TARGET_BYTES": "howdah.io.readers.table",
    "TableSource": "howdah.io.readers.table",
    "WriteJob": "howdah.io.parquet.write",
    "WriteResult": "howdah.io.parquet.write",
    "begin_write": "howdah.io.parquet.write",
    "find_reader": "howdah.io.readers.registry",
    "installed_readers": "howdah.io.readers.registry",
    "load_hadoop_config": "howdah.io.hadoop.config",
    "open_filesystem": "howdah.io.filesystem.filesystem",
    "open_table": "howdah.io.readers.registry",
    "plan_parquet": "howdah.io.parquet.table",
    "preferred_hosts": "howdah.io.filesystem.block_locations",
    "scan_split": "howdah.io.parquet.read",
    "scan_whole": "howdah.io.parquet.read",
}

_RENAMED = {"Piece": "ParquetSplit", "scan_piece": "scan_split"}

__all__ = [
    "TARGET_BYTES",
    "Block",
    "Condition",
    "FileInfo",
    "FileSystem",
    "HadoopConfig",
    "ParquetSplit",
    "ParquetTable",
    "PartInfo",
    "Split",
    "TableSource",
    "WriteJob",
    "WriteResult",
    "begin_write",
    "find_reader",
    "installed_readers",
    "load_hadoop_config",
    "open_filesystem",
    "open_table",
    "plan_parquet",
    "preferred_hosts",
    "scan_split",
    "scan_whole",
]


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        warnings.warn(f"howdah.io.{name} is now howdah.io.{_RENAMED[name]}", DeprecationWarning, stacklevel=2)
        return __getattr__(_RENAMED[name])
    if name not in _HOME:
        raise AttributeError(f"module 'howdah.io' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
