"""The estimate of a relation's size that plans are cut and joins are chosen by."""

from __future__ import annotations

from howdah.engine.relational import relations


def estimated_bytes(node: relations.Relation) -> int:
    """Return an upper bound of the bytes of a relation: those that its scans read and that the client holds."""
    if isinstance(node, relations.Scan):
        return node.nbytes
    if isinstance(node, relations.InMemory):
        return sum(int(part.nbytes) for part in node.parts)
    if isinstance(node, (relations.Top, relations.Head, relations.Tail, relations.Aggregate, relations.Persisted)):
        return 0  # one partition, or unknown until it has run
    return sum(estimated_bytes(child) for child in node.children())
