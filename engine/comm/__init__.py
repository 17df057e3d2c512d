"""Communication between howdah's processes: connections, identity, transfers of results.

For scheduler, worker, client and clusters. It promises that no byte of a peer is unpickled before the peer has proved
its role, that messages of a session arrive once and in order as long as both ends live, and that every wait ends when
the connection does. `data` imports `connection`, which imports `security`; none of them imports a scheduler or a graph.
"""
