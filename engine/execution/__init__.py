"""Execution of a graph: on a client's cluster, or on threads or the calling thread of this process.

For collections, which call `dispatch` and never a client. Answers are the same wherever a graph runs.
"""
