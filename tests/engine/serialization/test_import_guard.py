"""Packages that several threads import for the first time, at once and from different ends."""

import subprocess
import sys
from pathlib import Path

STORY = """
import pickle, sys, threading
sys.path.insert(0, {folder!r})
from howdah.engine.serialization.serialize import loads

faults = []

def whole():
    try:
        import polars
        polars.full
    except BaseException as error:
        faults.append(repr(error))

def part():
    begun.wait()
    try:
        asked.set()
        print(loads(b"cpolars.part\\nthing\\n."))
    except BaseException as error:
        faults.append(repr(error))

begun, asked = threading.Event(), threading.Event()
sys.modules["story"] = sys.modules["__main__"]
threads = [threading.Thread(target=target) for target in (whole, part)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(faults)
"""


def test_a_pickle_never_meets_a_half_made_package(tmp_path: Path) -> None:
    package = tmp_path / "polars"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import story, threading\n"
        "story.begun.set()\n"
        "story.asked.wait()\n"
        "threading.Event().wait(0.2)  # the other thread comes as far as it can\n"
        "from polars.part import thing\n"
        "full = 1\n"
    )
    (package / "part.py").write_text("import polars\nthing = 'whole' if hasattr(polars, '__path__') else ''\n")
    done = subprocess.run(
        [sys.executable, "-c", STORY.format(folder=str(tmp_path))],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.splitlines() == ["whole", "[]"], done.stdout + done.stderr
