"""The state of queues, variables, semaphores and events: a pure function from calls and time to replies.

Called by the scheduler's server (`server/coordination.py`), which turns messages into calls and effects into messages,
and by the journal, which stores a snapshot of it. Nothing here has a socket or a clock or unpickles a user's bytes.
"""
