"""Relations and column expressions: what is to be computed, as immutable nodes of a plan.

`columns` are row-wise expressions, `relations` are tables; both derive their dtypes when they are built, by applying
pandas to one-row samples. The folder `rules` rewrites relations, `compiler` computes them. Called by
`howdah.engine.frame`. Importing this package alone loads neither pandas nor Polars.
"""
