"""The one brain: a pure state (`state`) in a process of its own (`server`).

`records` is what it hears and says; `books`, `core`, `lifecycle`, `placement`, `assign`, `recovery` and `summary` are
its parts; `check` and `model` are for simulation. The pure parts promise the same instructions for the same events,
and never open a byte of a user's. Only `server` and `__main__` know sockets.
"""
