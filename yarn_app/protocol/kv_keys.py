"""Keys in skein's key-value store, through which the edge node, the master and its workers exchange values.

Values stay small: the application master's JVM has 128 MB. The master writes SCHEDULER, STATUS and FINAL; the edge node
writes the keys that begin with INPUT; workers write EXIT_REASON and LOCALIZATION.
"""

PREFIX = "howdah."

SCHEDULER = PREFIX + "scheduler"
"""The scheduler's address, once it listens."""

STATUS = PREFIX + "status"
"""A `MasterStatus` as JSON, renewed at most twice a second."""

FINAL = PREFIX + "final"
"""A `FinalStatus` as JSON, written once at the end."""

INPUT = PREFIX + "in."
LEASE = INPUT + "lease"
"""Renewed by every client that needs the application; any change of the value renews the lease."""

WATCH = INPUT + "watch"
"""Renewed by a command that watches the application: the master then waits briefly until FINAL is ACKNOWLEDGED."""

ACKNOWLEDGED = INPUT + "acknowledged"
"""Written by the command that has read FINAL."""

SCALE = INPUT + "scale"
"""The number of workers wanted, in ASCII digits."""

END = INPUT + "end"
"""An `ApplicationResult` as JSON: end the application with it."""

EXIT_REASON = PREFIX + "exit_reason."
"""Followed by skein's name of the container: why it could not start."""

LOCALIZATION = PREFIX + "localization."
"""Followed by skein's name of the container: YARN's LOCALIZATION_COUNTERS (bytes and files fetched and cached, ms)."""
