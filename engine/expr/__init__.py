"""The expression core that collections share: what is to be computed, said in immutable nodes.

`columns` are row-wise expressions, `nodes` are relations; both derive their types when they are built, by asking pandas
on one-row samples, and are named by content. `rules` rewrite relations, `questions` settles dtypes that depend on data,
`physical` lowers them to layers, and `run` (with `lower`) evaluates a stage as one lazy Polars query on a worker.
Called by `howdah.engine.frame`; importing this package alone loads neither pandas nor Polars.
"""
