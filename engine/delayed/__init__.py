"""`delayed` function calls, their lowering to layers, and `compute` and `persist` of all lazy objects.

For users (through `howdah`) and the client. Promises: the calls of one call site and depth become one layer, so a graph
is linear in its size; what several lazy objects of one `compute` share is computed once.
"""
