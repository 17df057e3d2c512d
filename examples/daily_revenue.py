"""Compute the revenue per day from TPC-H `lineitem`: read IN, write OUT, print the ten best days.

    python examples/daily_revenue.py file:///data/lineitem file:///out/revenue               # here, without Hadoop
    howdah submit --env etl examples/daily_revenue.py hdfs:///tpch/lineitem hdfs:///out/revenue   # on YARN

Under `howdah submit`, `Client()` connects to the application's workers; elsewhere it starts a local cluster.
"""

from __future__ import annotations

import sys

import howdah as hd


def main(source: str, target: str) -> None:
    """Compute the revenue per day of the table at `source`, write it to `target`, and print the ten best days."""
    with hd.Client():
        lines = hd.read_parquet(source, columns=["l_shipdate", "l_extendedprice", "l_discount"])
        lines = lines.assign(revenue=lines.l_extendedprice * (1 - lines.l_discount))
        daily = lines.groupby("l_shipdate").revenue.sum().persist()  # computed once, used twice
        daily.to_frame().to_parquet(target)
        print(daily.nlargest(10).compute())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} IN OUT")
    main(sys.argv[1], sys.argv[2])
