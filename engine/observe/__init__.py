"""Seen from outside: the status page and its JSON. Served by the scheduler's process; asks it, never changes it."""
