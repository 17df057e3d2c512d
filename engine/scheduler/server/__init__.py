"""The scheduler's process around the pure core: sessions, journal, requests, coordination, status page.

Started by `python -m howdah.engine.scheduler` and by clusters. It turns messages into events of the core, and the
core's instructions into messages; it decides nothing about tasks and never unpickles a user's bytes. `server` composes
the parts, which reach each other through `context.ServerContext`.
"""
