"""`delayed`: function calls written now and computed later, their lowering to layers, `compute` and `persist`.

For users (through `howdah`) and the client. A call site and depth becomes one layer, so a graph is linear in its size.
"""
