"""Relations and column expressions: what is to be computed, as immutable nodes, and how Polars computes it.

`columns` are row-wise expressions, `relations` are tables; both derive their dtypes when they are built, by applying
pandas to one-row samples. `rules` rewrite relations, `dtype_resolution` finds dtypes that depend on the data,
`lowering` turns relations into layers of tasks, and `evaluate` (with `polars_expr`) computes one task as one lazy
Polars query. Called by `howdah.engine.frame`. Importing this package alone loads neither pandas nor Polars.
"""
