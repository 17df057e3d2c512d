"""Graphs: layers, their keys and patterns, checking, culling and fusing them, and how they travel.

Called by collections, the client and the local executors; `layer` and `patterns` also by scheduler and workers. It
promises that a graph is linear in its size to build, that equal content has equal keys in every process, and that
two contents never share one.
"""
