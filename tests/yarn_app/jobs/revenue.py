"""A scan of a table that is spread over the nodes, an aggregation, and an output. `revenue.py IN OUT`."""

import sys

import howdah as hd
from howdah import Client

with Client() as client:
    table = hd.read_parquet(sys.argv[1])
    daily = table.assign(revenue=table.price * (1 - table.discount)).groupby("day").revenue.sum()
    daily.to_frame().to_parquet(sys.argv[2])
    print(daily.nlargest(3).compute().to_json())
