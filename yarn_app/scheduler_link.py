"""The master's (and the edge's) view of the scheduler process: progress and accounts in, news of containers out.

A thin wrapper over the engine's client messages, so that `master` need not know them. It promises to answer within
seconds or to say that it cannot; it never raises for a question that the scheduler is too busy to answer.
"""
