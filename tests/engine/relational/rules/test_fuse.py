"""Projections of projections become one where nothing would be computed twice."""

from __future__ import annotations

from howdah.engine.relational.columns import Binary, Col, Column, Lit
from howdah.engine.relational.dtypes import INT64
from howdah.engine.relational.relations import Filter, InMemory, Project, Relation
from howdah.engine.relational.rules.fuse import fuse

TABLE = InMemory((), {"a": INT64, "b": INT64}, b"t")
A, B = Col("a", INT64), Col("b", INT64)


def project(source: Relation, **columns: Column) -> Project:
    return Project(source, tuple(columns.items()))


def test_an_expression_that_is_used_once_moves_up() -> None:
    inner = project(TABLE, c=Binary("+", A, Lit(1)), d=B)
    outer = project(inner, e=Binary("*", Col("c", INT64), Col("d", INT64)))
    assert fuse(outer) == project(TABLE, e=Binary("*", Binary("+", A, Lit(1)), B))


def test_an_expression_that_is_used_twice_stays() -> None:
    inner = project(TABLE, c=Binary("+", A, Lit(1)))
    outer = project(inner, d=Col("c", INT64), e=Col("c", INT64))
    assert fuse(outer) == outer


def test_a_plain_column_may_be_used_twice() -> None:
    outer = project(project(TABLE, c=A), d=Col("c", INT64), e=Col("c", INT64))
    assert fuse(outer) == project(TABLE, d=A, e=A)


def test_a_projection_that_changes_nothing_is_removed_anywhere() -> None:
    same = project(TABLE, a=A, b=B)
    assert fuse(same) is TABLE
    keep = Filter(same, Binary(">", A, Lit(1)))
    assert fuse(keep) == Filter(TABLE, Binary(">", A, Lit(1)))
    assert fuse(project(TABLE, b=B, a=A)) == project(TABLE, b=B, a=A)  # another order
