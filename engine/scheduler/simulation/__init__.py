"""The scheduler under modelled workers, clients and failures: scenarios, invariants, replay of failing runs.

For tests, `make soak` and `make simulate`. The same seed gives the same run. Nothing outside this folder imports it.
"""
