"""What an application keeps in files: its folder in HDFS, the bundles of its containers, and the scheduler's journal.

For `submit`, `master`, `worker` and the command line; the engine finds the journal by entry point. After
`Staging.remove` nothing of an application is left in HDFS.
"""
