"""The scheduler's process: sockets, sessions, journal, queries and the status page around the pure scheduler.

Started by `python -m howdah.engine.scheduler`, clusters and applications. It carries messages to `core` and
instructions to peers; it decides nothing about tasks and never unpickles a user's bytes.
"""
