"""Time the reading of TPC-H `lineitem`: `python docs/measure_files.py URL` (see docs/files.md)."""

from __future__ import annotations

import datetime
import sys
import time

import polars as pl
import pyarrow.parquet as pq

from howdah.io import plan_parquet, scan_split, scan_whole

COLUMNS = ["l_shipdate", "l_discount", "l_quantity", "l_extendedprice"]


def query_6(lines: pl.LazyFrame) -> float:
    kept = lines.filter(
        pl.col("l_shipdate") >= datetime.date(1994, 1, 1),
        pl.col("l_shipdate") < datetime.date(1995, 1, 1),
        pl.col("l_discount").is_between(0.05, 0.07),
        pl.col("l_quantity") < 24,
    )
    return float(kept.select((pl.col("l_extendedprice") * pl.col("l_discount")).sum()).collect().item())


def main(url: str) -> None:
    started = time.perf_counter()
    table = plan_parquet(url)
    print(f"plan                 {time.perf_counter() - started:.3f} s, {len(table.files)} files, {table.rows} rows")
    splits = table.splits(COLUMNS)
    whole = scan_whole(table, COLUMNS)
    ways = {"splits, one by one": lambda: sum(query_6(scan_split(split, COLUMNS)) for split in splits)}
    if whole is not None:
        ways["one Polars scan"] = lambda: query_6(whole)

    def by_pyarrow() -> float:
        files = [pq.ParquetFile(table.filesystem.open(file.path), pre_buffer=True) for file in table.files]
        return sum(query_6(pl.from_arrow(file.read(COLUMNS)).lazy()) for file in files)  # type: ignore[union-attr]

    ways["pyarrow, then Polars"] = by_pyarrow
    for name, way in ways.items():
        seconds, cpu = [], []
        for _ in range(5):
            started, used = time.perf_counter(), time.process_time()
            answer = way()
            seconds.append(time.perf_counter() - started)
            cpu.append(time.process_time() - used)
        print(f"{name:20} {min(seconds):.3f} s, {min(cpu):.3f} CPU seconds, revenue {answer:.2f}")


if __name__ == "__main__":
    main(sys.argv[1])
