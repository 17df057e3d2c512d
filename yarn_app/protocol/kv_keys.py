"""Names in skein's key-value store, through which the edge, the master and its workers find one another. Values stay
small (the application master's Java has 128 MB).

The master writes SCHEDULER, STATUS and FINAL; the edge writes what begins with IN; workers write WORDS and UNPACKED.
"""

SCHEDULER = "howdah.scheduler"
"""The scheduler's address; there once it listens."""

STATUS = "howdah.status"
"""JSON, renewed at most twice a second: see `master.Board`."""

FINAL = "howdah.final"
"""JSON, once: STATUS as it was at the end, with exit code, diagnostics and the ends of the driver program's output."""

INPUT = "howdah.in."
LEASE = INPUT + "lease"
"""Renewed by every client that wants the application to live on; any change of the value counts."""

WATCH = INPUT + "watch"
"""Renewed by who watches the end: the master then waits a moment until FINAL was SEEN."""

ACKNOWLEDGED = INPUT + "seen"
SCALE = INPUT + "scale"
"""How many workers are wanted, as a number in ASCII."""

END = INPUT + "end"
"""JSON {"status", "diagnostics"}: end the application cleanly."""

EXIT_REASON = "howdah.words."
"""By skein's name of the container: why it could not start."""

LOCALIZATION = "howdah.unpacked."
"""By skein's name of the container: YARN's LOCALIZATION_COUNTERS (bytes and files fetched and cached, ms)."""
