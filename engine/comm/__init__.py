"""How howdah's processes talk: frames, serialization, addresses, identity, sessions (DESIGN, "Data" and "Trust").

May be used by scheduler, worker, client and the local cluster; imports nothing of howdah but `howdah.errors`,
`engine.graph.layer` and the scheduler's records. It promises that no byte of a peer is unpickled before the peer has
proved its role, that messages of a session arrive once and in order as long as both ends live, and that every wait
ends when the connection does.
"""
