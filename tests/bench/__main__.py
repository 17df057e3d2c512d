"""Run all measures and print one table: ``python tests/bench [module ...] [--json FILE]``.

Both systems are measured in the same run, 2 worker processes of 1 thread each. Exit code 1 when a mark is missed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from measure import HEAD, line, table  # noqa: E402  # beside this file


def main() -> int:
    topics = sorted(p.stem for p in HERE.glob("*.py") if p.stem not in ("__main__", "measure", "peers"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic", nargs="*", help=f"of {', '.join(topics)}; all by default")
    parser.add_argument("--json", default="", help="write the figures to this file too")
    options = parser.parse_args()
    found = []
    print(HEAD, flush=True)
    for topic in options.topic or topics:
        module = importlib.import_module(topic)
        for measure in getattr(module, "measures", list)():
            found.append(measure)
            print(line(measure), flush=True)
    if len(options.topic) != 1:
        print("\n" + table(found))
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(m) | {"reached": m.reached} for m in found], indent=1))
    return 0 if all(m.reached for m in found) else 1


if __name__ == "__main__":
    sys.exit(main())
