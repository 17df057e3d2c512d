"""Parquet: tables and their splits, pruning by statistics, reading, and atomic writing.

Called through `howdah.io`. `table` finds files and cuts them into splits, `split` and `read` read one in a task,
`write` makes a table appear whole or not at all.
"""
