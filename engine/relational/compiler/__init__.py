"""From relations to answers: dtype resolution, lowering to layers, and the evaluation of a stage by Polars.

`compile` is what frames call. `dtype_resolution` finds dtypes that depend on the data, `lowering` turns relations into
layers of tasks, `stage` is what one task runs, and `evaluate` (with `polars_expr`) computes it by one Polars query.
"""
