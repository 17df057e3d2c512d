"""The engine: graphs, the scheduler, workers, the client, and the collections that users write.

`execute` is where collections have graphs run: on the current client's cluster, or in this process (`local`). The
core (graph, scheduler, worker, client, comm) knows neither `howdah.io` nor `howdah.yarn_app`; expr and frame use both
the core and `howdah.io`.
"""
