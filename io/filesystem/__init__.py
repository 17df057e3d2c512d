"""File systems: one handle over HDFS and local files, retries, and where blocks are.

For readers, writers and every caller outside `io`. A handle can be pickled; errors name the path.
"""
