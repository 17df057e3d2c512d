"""The rules of the scheduler: a pure function from events and time to instructions.

Called by the server and by simulation through `Scheduler.handle`. The same events give the same instructions; no module
here has a socket, a clock or a source of chance, and none opens a byte of a user's.
"""
