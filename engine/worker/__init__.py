"""The worker: it runs the batches that the scheduler sends, stores and fetches results, and reports.

The scheduler decides everything. Its process (`worker.process`) makes the one `Worker`; clients reach the worker's logs
through `task_logs`, clusters read `exits`. Importing it loads no pandas, Polars, pyarrow or numpy: a worker starts in a
fraction of a second, and the thread counts of native libraries are set before they load.
"""
