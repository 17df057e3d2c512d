"""DataFrame, Series and their group-bys: pandas' language over partitions, computed as columns.

Called by users, through `howdah` (`howdah.read_parquet`, `howdah.from_pandas`). Promises: answers are pandas' in
values, order, labels, dtypes and missing values, for data read by `pandas.read_parquet` with its defaults; what is
wrong or not there yet is refused on the line that writes it; nothing is computed before `compute`, `persist`,
`to_parquet`, `len` or the value of a reduction is requested.
"""

from __future__ import annotations

from howdah.engine.frame.dataframe import DataFrame
from howdah.engine.frame.groupby import DataFrameGroupBy, SeriesGroupBy
from howdah.engine.frame.scalar import Scalar
from howdah.engine.frame.series import Series
from howdah.engine.frame.sources import from_pandas, read_parquet, read_table

__all__ = [
    "DataFrame",
    "DataFrameGroupBy",
    "Scalar",
    "Series",
    "SeriesGroupBy",
    "from_pandas",
    "read_parquet",
    "read_table",
]
