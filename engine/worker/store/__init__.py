"""The results that a worker holds: sizes, memory limits, and files on disk for the least recently used.

For the worker's folders alone. The store counts its bytes, moves results to disk on a thread of its own, and delays
work before the process would exceed its limit.
"""
