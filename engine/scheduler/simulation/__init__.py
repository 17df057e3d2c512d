"""The scheduler's rules under modelled workers, clients and failures: scenarios, invariants, replay of failing runs.

For tests, `make soak` and `make simulate`; nothing outside this folder and the tests imports it. The same seed gives
the same run. A failing scenario is printed as a script that shows the failure.
"""
