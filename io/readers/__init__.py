"""The interface of every reader of tables, and how readers are found by entry point.

`table` has `TableSource` (a table in files: schema, splits) and `Split` (what one task reads); `registry` opens a table
by the name of its format. Called through `howdah.io` by the collections and by readers, those outside of howdah too.
"""
