"""Seeded trouble for as long as it is told: ``make soak SECONDS=1800 SEED=7``.

Each part is a `main(seconds, seed)` that returns the number of failures; the same seed makes the same plan. The
simulation plays scenarios of a modelled cluster against the scheduler's state, with the books checked after every
event; the chaos, where it is there, kills and stops real processes. Parts share the time by their weights.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path

from howdah.engine.scheduler.simulation.scenarios import search

Part = Callable[[float, int], int]

MOST_FAILURES = 3
"""Failures of the simulation after which it ends: they are likely to be one."""


def simulation(seconds: float, seed: int) -> int:
    """Scenarios, one after the other; those that fail are cut down and printed as scripts."""
    end, failures, played = time.monotonic() + seconds, 0, 0
    for number in itertools.count(seed * 1_000_000):
        if time.monotonic() >= end or failures == MOST_FAILURES:
            break
        failure = search([number], faults=number % 10 != 0)
        played += 1
        if failure is not None:
            failures += 1
            print(failure, flush=True)
    print(f"simulation: {played} scenarios from {seed * 1_000_000} on, {failures} failed", flush=True)
    return failures


def parts() -> dict[str, tuple[float, Part]]:
    """Weights and mains by name, of those that are there."""
    found: dict[str, tuple[float, Part]] = {"simulation": (1.0, simulation)}
    path = Path(__file__).parent / "chaos" / "soak.py"
    if path.exists():
        sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location("chaos_soak", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found["chaos"] = (3.0, module.main)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=600.0, help="all parts together")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000, help="the same seed, the same plan")
    parser.add_argument("--part", action="append", help="only this one (may be given more than once)")
    chosen = parser.parse_args()
    mains = {name: part for name, part in parts().items() if not chosen.part or name in chosen.part}
    if not mains:
        parser.error(f"--part: there are {', '.join(parts())}")
    total = sum(weight for weight, _ in mains.values())
    print(f"soak: {chosen.seconds:g} s, seed {chosen.seed}, {', '.join(mains)}", flush=True)
    failures = {name: run(chosen.seconds * weight / total, chosen.seed) for name, (weight, run) in mains.items()}
    print("soak: " + ", ".join(f"{name}: {count} failures" for name, count in failures.items()))
    return 1 if any(failures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
