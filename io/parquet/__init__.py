"""Parquet: plan by row group, prune by statistics, read and write.

Called through `howdah.io`. A failed write leaves nothing half-visible.
"""
