"""Clusters on this machine: the `Cluster` interface, `LocalCluster`, and processes for one `compute`.

For users and for `howdah.engine.api`. A cluster starts a scheduler and workers and ends them: after `close`, or the end
of the process that made it, nothing that it started is left.
"""
