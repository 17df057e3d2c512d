"""The worker's process and its supervisor: `python -m howdah.engine.worker.process` starts both.

Started by clusters and YARN containers; imported by tests only. The supervisor starts a worker again when it dies, and
reports how it died and what it was running.
"""
