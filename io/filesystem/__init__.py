"""File systems: one handle over HDFS and local files, retries of transient errors, and the places of blocks.

For readers, writers and every caller outside `io`, through `open_filesystem`. It promises: a handle can be pickled and
used from many threads; errors are howdah's and name the path. Above `io.hadoop`, which it calls.
"""
