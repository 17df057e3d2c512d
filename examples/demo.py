"""`make demo`: run the main job on a small real Hadoop, starting with its daemons, and check it against plain pandas.

The demo runs the commands of the README and prints each before it runs. At the end it compares the table that the YARN
application wrote to HDFS with the result of pandas for the same files. `--scale 0.1` selects less data; `--keep` leaves
the small Hadoop running afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
FILES = 16


def run(*words: str, quiet: bool = False) -> float:
    """Print and run a command, and return its seconds; exit the demo if it fails."""
    if not quiet:
        print(f"\n$ {shlex.join(words)}", flush=True)
    began = time.perf_counter()
    done = subprocess.run(words, check=False)
    if done.returncode:
        sys.exit(f"'{shlex.join(words)}' ended with {done.returncode}")
    return time.perf_counter() - began


def lineitem(folder: Path, scale: float) -> Path:
    """Return the folder of TPC-H `lineitem` in 16 Parquet files; generate it once."""
    target = folder / f"sf{scale:g}" / "lineitem"
    if not (target / "_MADE").exists():
        run("tpchgen-cli", "parquet", "-s", f"{scale:g}", "--tables=lineitem", f"--parts={FILES}", "--overwrite",
            f"--output-dir={target.parent}")  # fmt: skip
        (target / "_MADE").touch()
    return target


def mini_environment(hadoop: Path) -> dict[str, str]:
    """Return the environment variables that `eval "$(howdah mini env)"` sets in a shell."""
    out = subprocess.run(["howdah", "mini", "env", "--folder", str(hadoop)], capture_output=True, text=True, check=True)
    script = out.stdout + "\nenv -0"
    got = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout.decode()
    return dict(pair.split("=", 1) for pair in got.split("\0") if "=" in pair)


def expected(data: Path) -> pd.DataFrame:
    """Return the expected result, computed by pandas from the same files."""
    columns = ["l_shipdate", "l_extendedprice", "l_discount"]
    lines = pd.concat([pd.read_parquet(f, columns=columns) for f in sorted(data.glob("*.parquet"))], ignore_index=True)
    lines["revenue"] = lines.l_extendedprice * (1 - lines.l_discount)
    return lines.groupby("l_shipdate").revenue.sum().to_frame()


def from_hdfs(url: str, into: Path) -> pd.DataFrame:
    """Fetch a result folder from HDFS with Hadoop's client, and read it with pandas."""
    subprocess.run(["rm", "-rf", str(into)], check=True)
    run("hdfs", "dfs", "-get", url, str(into), quiet=True)
    if not (into / "_SUCCESS").exists():
        sys.exit(f"{url} has no _SUCCESS: the job did not commit")
    return pd.concat([pd.read_parquet(f) for f in sorted(into.glob("*.parquet"))])


def equal(label: str, got: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """Check that values, order, index and dtypes are equal; raise with the difference otherwise."""
    pd.testing.assert_frame_equal(got, wanted, check_exact=True)
    print(f"{label}: {len(got)} rows, equal to pandas (values, order, index, dtypes)")


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="TPC-H scale factor (1: six million rows)")
    parser.add_argument(
        "--folder", type=Path, default=HERE.parent / ".cache" / "demo", help="folder for the data and Hadoop"
    )
    parser.add_argument("--keep", action="store_true", help="leave the small Hadoop running")
    parser.add_argument("--figures", type=Path, help="also write the seconds as JSON to this file")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    hadoop, figures = options.folder / "hadoop", {}

    data = lineitem(options.folder, options.scale)
    figures["mini start"] = run("howdah", "mini", "start", "--folder", str(hadoop))
    try:
        os.environ.update(mini_environment(hadoop))
        figures |= on_yarn(options.folder, data)
        answer = expected(data)
        print()
        equal("first submission ", from_hdfs("/out/revenue", options.folder / "first"), answer)
        equal("second submission", from_hdfs("/out/revenue-again", options.folder / "second"), answer)
    finally:
        if options.keep:
            print(f'\nStill running. eval "$(howdah mini env --folder {hadoop})"')
        else:
            run("howdah", "mini", "stop", "--folder", str(hadoop))

    local = options.folder / "local"
    subprocess.run(["rm", "-rf", str(local)], check=True)
    figures["laptop"] = run(sys.executable, str(HERE / "daily_revenue.py"), f"file://{data}", f"file://{local}")
    equal("without Hadoop", pd.concat([pd.read_parquet(f) for f in sorted(local.glob("*.parquet"))]), answer)

    print("\nThe ten best days:\n")
    print(answer.revenue.nlargest(10).to_string() if answer.revenue.dtype != object
          else answer.revenue.astype(float).nlargest(10).to_string())  # fmt: skip
    print("\nseconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in figures.items()))
    if options.figures:
        options.figures.write_text(json.dumps(figures, indent=1))


def on_yarn(folder: Path, data: Path) -> dict[str, float]:
    """Upload data and environment to HDFS, submit the job twice, and return the seconds of each step."""
    seconds = {}
    run("hdfs", "dfs", "-rm", "-r", "-f", "-skipTrash", "/tpch", "/out", quiet=True)
    run("hdfs", "dfs", "-mkdir", "-p", "/tpch/lineitem", "/out")
    seconds["put"] = run("hdfs", "dfs", "-put", *map(str, sorted(data.glob("*.parquet"))), "/tpch/lineitem/")
    seconds["pack"] = run("howdah", "env", "pack", "--name", "etl")
    seconds["pack again"] = run("howdah", "env", "pack", "--name", "etl")
    for label, out in (("submit", "revenue"), ("submit again", "revenue-again")):
        seconds[label] = run(
            "howdah", "submit", "--env", "etl", "--workers", "2", "--worker-memory", "1GiB", "--worker-cores", "1",
            str(HERE / "daily_revenue.py"), "hdfs:///tpch/lineitem", f"hdfs:///out/{out}")  # fmt: skip
    run("howdah", "list")
    return seconds


if __name__ == "__main__":
    main()
