"""The scheduler: a pure core (`core`), the process around it (`server`, `coordination`), and its simulation.

`python -m howdah.engine.scheduler` starts it, and clusters start `server.Server`. The pure parts promise the same
instructions for the same events; only `server` and `__main__` have sockets, and none unpickles a user's bytes.
"""
