"""The results that a worker holds: sizes, memory limits, and files on disk for the oldest.

For the worker alone. The store counts its bytes exactly, spills the oldest on a thread of its own, and refuses work
before the container would be killed.
"""
