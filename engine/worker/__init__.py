"""The worker: runs what it is told, keeps what it is told to keep, fetches from where it is told, and reports.

It holds no opinions (DESIGN, "One brain"). `python -m howdah.engine.worker` is its only entry; nobody imports this
folder but its own process and tests. Importing it loads no pandas, Polars, pyarrow or numpy: a worker is up in a
fraction of a second, and threads of native libraries are counted before they start.
"""
