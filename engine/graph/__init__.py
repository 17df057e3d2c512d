"""Graphs of layers: their keys, checking, culling and fusing them, annotations, and their encoding for the wire.

Called by collections, the client and local execution. Promises: building a graph is linear in its size; equal content
has equal keys in every process, and two contents never share one.
"""
