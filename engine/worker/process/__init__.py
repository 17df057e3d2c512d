"""The worker's process and its supervisor: `python -m howdah.engine.worker.process` starts both.

Started by clusters and YARN containers; nobody imports it but tests. The supervisor starts a worker again when it dies,
and reports how it died and what it was running.
"""
