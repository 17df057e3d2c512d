"""What the plans of all collections share: nodes, rules, options, lowering to layers, and the compiler.

Called by `engine.relational` (relations and columns are its nodes) and, through it, by frames. A node is immutable and
has a key of its content; a compiler optimises a plan, resolves what depends on the data, lowers the plan to layers of
tasks and runs them. Nothing here reads data or depends on a kind of collection.
"""
