"""The client's side of a cluster: its connection, futures, results, and the waits for them.

For `howdah.engine.api`, which composes `Client` of these parts, and for coordination, executors and collections, which
need a `ClusterClient`. Every wait ends with its result, its deadline, or the loss of the cluster.
"""
