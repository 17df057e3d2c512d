"""What is small: the sizes at which plans take another shape, and the estimate that they are held against."""

from __future__ import annotations

from howdah.engine.relational import relations

SINGLE_TASK_BYTES = 16 * 2**20
"""Stored bytes of the needed columns up to which a table is one task."""

BROADCAST_BYTES = 64 * 2**20
"""Stored bytes of a join's smaller side up to which it goes to every task."""

SPLIT_BYTES = 32 * 2**20
"""Stored bytes of the needed columns that one task reads, about: a second of work, some 200 MB in memory."""

FAN_IN = 8
"""Partitions that one combining task takes."""


def estimated_bytes(node: relations.Relation) -> int:
    """An estimate from above of the bytes that a relation brings: those that its scans read."""
    if isinstance(node, relations.Scan):
        pieces = node.table.splits(list(node.stored()), filters=list(node.conditions))
        return sum(int(p.nbytes) for p in pieces)
    if isinstance(node, relations.InMemory):
        return sum(int(p.nbytes) for p in node.parts)
    if isinstance(node, (relations.Top, relations.Head, relations.Tail, relations.Aggregate, relations.Persisted)):
        return 0  # one partition, or unknown until it has run
    return sum(estimated_bytes(source) for source in node.children())
