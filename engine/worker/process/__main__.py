"""`python -m howdah.engine.worker.process`: one worker under its supervisor.

Started by YARN containers and the local cluster. The thread counts of native libraries are set before anything is
imported that might read them.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from howdah.engine.worker.process.supervisor_link import SupervisorLink


def resources(text: str) -> tuple[tuple[str, float], ...]:
    """Parse amounts by name, separated by blanks or commas.

    >>> resources("licence=0.5, gpu=2")
    (('gpu', 2.0), ('licence', 0.5))
    """
    found: dict[str, float] = {}
    for part in text.replace(",", " ").split():
        name, _, amount = part.partition("=")
        try:
            found[name] = float(amount)
        except ValueError:
            found[name] = 0.0
        if not name or not 0 < found[name] < float("inf"):
            raise argparse.ArgumentTypeError(f"{part!r}: write NAME=AMOUNT, the amount above 0, as in gpu=1")
    return tuple(sorted(found.items()))


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m howdah.engine.worker.process", description="One howdah worker.")
    parser.add_argument("--scheduler", required=True, help="the scheduler's address")
    parser.add_argument("--security", default="", help="security directory; none over Unix sockets")
    parser.add_argument("--name", required=True)
    parser.add_argument("--host", default="", help="this node as YARN and HDFS name it")
    parser.add_argument("--rack", default="/default-rack")
    parser.add_argument("--slots", type=int, default=1, help="tasks that run at once")
    parser.add_argument(
        "--resources",
        type=resources,
        default=(),
        help='what tasks may ask for, as "gpu=1 licence=0.5"; default: nothing',
    )
    parser.add_argument("--memory-limit", type=int, default=0, help="bytes; 0: none")
    parser.add_argument("--local-dir", default="", help="folder for this worker's files")
    parser.add_argument("--container", default="", help="the YARN container's id")
    parser.add_argument("--listen", default="", help="where peers fetch from; default: any port of HOST")
    parser.add_argument("--lease", type=float, default=60.0, help="seconds for which a lost scheduler is looked for")
    parser.add_argument("--die-with-parent", action="store_true", help="leave when standard input, a socket, ends")
    parser.add_argument("--grace", type=float, default=0.2, help="seconds from SIGTERM on in which results are saved")
    return parser.parse_args(argv)


def limit_native_threads(slots: int) -> None:
    """Set the size of native thread pools to the number of slots, unless the user has set it."""
    for variable in (
        "POLARS_MAX_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_MAX_THREADS",
        "ARROW_NUM_THREADS",
    ):
        os.environ.setdefault(variable, str(slots))


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    limit_native_threads(options.slots)
    # The supervisor's process loads nothing that it does not need itself, and reads the variables set above.
    from howdah.engine.worker.process.supervisor import Supervisor

    return Supervisor(options, run_worker).run()


def run_worker(options: argparse.Namespace, link: SupervisorLink) -> int:
    """Run the worker in the supervisor's child, where alone the engine is imported; return its exit code."""
    from howdah.engine.worker.process.main import run

    return run(options, link)


if __name__ == "__main__":
    raise SystemExit(main())
