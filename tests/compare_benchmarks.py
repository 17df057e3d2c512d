"""Run the benchmarks of two checkouts in turn, and print each figure of both.

    git worktree add ../before COMMIT && make -C ../before venv
    python tests/compare_benchmarks.py ../before . engine --rounds 3

Each round runs both checkouts, each with its own virtual environment, since the machine's pace changes within minutes.
A figure is the best of its rounds: howdah's own, less is better; those of peers are left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any


def run(checkout: Path, topics: list[str]) -> list[dict[str, Any]]:
    """The measures of one checkout."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        program = [str(checkout / ".venv" / "bin" / "python"), "tests/bench", *topics, "--json", file.name]
        subprocess.run(program, cwd=checkout, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return list(json.loads(Path(file.name).read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("topic", nargs="*", help="as of tests/bench; all by default")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    figures: dict[str, tuple[str, list[float], list[float]]] = {}
    for number in range(options.rounds):
        for place, checkout in enumerate((options.before, options.after)):
            for measure in run(checkout.resolve(), options.topic):
                entry = figures.setdefault(measure["name"], (measure["unit"], [], []))
                entry[1 + place].append(measure["howdah"])
        print(f"round {number + 1} of {options.rounds} is done", flush=True)
    print("| measure | unit | before | after | change |\n|---|---|---:|---:|---:|")
    for name, (unit, before, after) in figures.items():
        if before and after:
            change = f"{100 * (min(after) / min(before) - 1):+.1f} %" if min(before) else "-"
            print(f"| {name} | {unit} | {min(before):.4g} | {min(after):.4g} | {change} |")


if __name__ == "__main__":
    main()
