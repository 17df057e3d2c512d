"""What tasks and clients share beside results: `Queue`, `Variable`, `Lock`, `Event`, `Semaphore`, and actors.

For users, from a client and from inside tasks; workers host the actors. The state of the first five lives in the
scheduler's process (`howdah.engine.scheduler.coordination`), an actor's on one worker. Every wait ends with a reply of
the scheduler, without polling, and what a client or worker holds is released when it ends.
"""

from howdah.engine.coordination.locks import Event, Lock, Semaphore
from howdah.engine.coordination.values import Queue, Variable

__all__ = ["Event", "Lock", "Queue", "Semaphore", "Variable"]
