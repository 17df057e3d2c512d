"""The rules of the scheduler: a pure function from events and time to instructions.

The server and the simulation call `scheduler.Scheduler.handle` and read `Scheduler.views`; everything else is for the
modules of this folder. The same events at the same times give the same instructions; no module here has a socket, a
clock or a source of chance, and none opens a user's bytes. `transitions` opens with the theory of operation, and
`scheduler.HANDLERS` names the handler of every event.
"""
