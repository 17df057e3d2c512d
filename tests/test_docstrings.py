"""The public names of howdah explain themselves: `help` and `inspect.signature` show what a user needs.

Checked for each name in `howdah.__all__`, the classes that these return, and their public methods and properties: a
summary line in the imperative that ends with a period, a Parameters section that names exactly the parameters, a
Returns section unless None is returned, a signature that names its parameters, and an example for each class.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import howdah
from howdah.engine.client.account import Account
from howdah.engine.delayed.drawing import Drawing
from howdah.engine.frame import DataFrameGroupBy, Scalar, SeriesGroupBy
from howdah.engine.frame.accessors import DatetimeAccessor, StringAccessor
from howdah.engine.frame.index import Index

RETURNED = (Account, Drawing, DataFrameGroupBy, DatetimeAccessor, Index, Scalar, SeriesGroupBy, StringAccessor)
"""Classes that users get and do not make."""

NOT_CONSTRUCTED = {*RETURNED, howdah.DataFrame, howdah.Delayed, howdah.Future, howdah.Series}
"""Classes whose constructor is not for users."""

EXCEPTIONS: frozenset[str] = frozenset({"Specification.replace", "YarnCluster"})
"""Names that do not pass yet. May only shrink."""

NOT_IMPERATIVE = frozenset(
    {"a", "all", "an", "any", "as", "both", "each", "every", "how", "it", "its", "none", "one", "or", "several", "that"}
    | {"the", "their", "this", "those", "what", "when", "where", "whether", "which", "who", "whose"}
)
SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)
ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: ?:.*)?$", re.MULTILINE)


def public_objects() -> Iterator[tuple[str, Any, type | None]]:
    """(name, object, class that has it) of everything that is checked."""
    classes = [c for n in howdah.__all__ if inspect.isclass(c := getattr(howdah, n))]
    for name in howdah.__all__:
        yield name, getattr(howdah, name), None
    for cls in RETURNED:
        yield cls.__name__, cls, None
    for cls in [*classes, *RETURNED]:
        for name in sorted(n for n in dir(cls) if not n.startswith("_")):
            owner = next(base for base in cls.__mro__ if name in base.__dict__)
            if owner.__module__.startswith("howdah"):
                yield f"{cls.__name__}.{name}", owner.__dict__[name], cls


def sections(doc: str) -> dict[str, str]:
    """The text of each numpy section by title.

    >>> sections("Add.\\n\\nReturns\\n-------\\nint\\n")
    {'Returns': 'int\\n'}
    """
    parts = SECTION.split(doc)
    return dict(zip(parts[1::2], parts[2::2]))


def documented(section: str) -> list[str]:
    """The parameter names of a Parameters section."""
    return [name.lstrip("*") for m in ENTRY.finditer(section) for name in m.group(1).split(", ")]


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return [p for n, p in inspect.signature(function).parameters.items() if n != "self" and not n.startswith("_")]


def problems_of_call(doc: str, function: Callable[..., Any]) -> Iterator[str]:
    """Problems with the documented parameters of a function, or of a class that users make."""
    found = parameters(function)
    kinds = {p.kind for p in found}
    if kinds == {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        yield "its signature is (*args, **kwargs)"
    names, shown = [p.name for p in found], documented(sections(doc).get("Parameters", ""))
    if names != shown and sorted(names) != sorted(shown):
        yield f"Parameters has {shown}, the signature {names}"


def problems(name: str, thing: Any, owner: type | None) -> Iterator[str]:
    if isinstance(thing, property):
        doc = inspect.cleandoc(thing.__doc__ or "")
        if not doc.partition("\n")[0].endswith("."):
            yield "a property needs one line that ends with a period"
        return
    if owner is not None and not isinstance(thing, classmethod | staticmethod) and not callable(thing):
        return  # a plain attribute
    call = getattr(owner, name.rpartition(".")[2]) if owner is not None else thing
    doc = inspect.cleandoc(call.__doc__ or "")
    first = doc.partition("\n")[0]
    if not first.endswith("."):
        yield "the docstring needs a summary line that ends with a period"
    if inspect.isclass(call):
        if ">>> " not in doc and "```" not in doc and "Examples" not in sections(doc):
            yield "a class needs an example"
        if call not in NOT_CONSTRUCTED:
            yield from problems_of_call(doc + "\n\n" + inspect.cleandoc(call.__init__.__doc__ or ""), call)
        return
    word = first.split(" ")[0].lower()
    if word in NOT_IMPERATIVE or (word.endswith("s") and not word.endswith("ss")):
        yield f"the summary begins with {word!r}, not with an imperative"
    yield from problems_of_call(doc, call)
    returns = inspect.signature(call).return_annotation
    if returns not in (None, "None") and not {"Returns", "Yields"} & set(sections(doc)):
        yield "Returns is missing"


ALL = {name: (thing, owner) for name, thing, owner in public_objects()}


@pytest.mark.parametrize("name", ALL)
def test_a_public_name_explains_itself(name: str) -> None:
    found = list(problems(name, *ALL[name]))
    if name in EXCEPTIONS:
        assert found, f"{name} passes now: take it out of EXCEPTIONS"
        return
    assert found == []


def test_the_check_sees_what_is_wrong() -> None:
    def bad(a: int, *, b: int = 0) -> int:
        """The sum

        Parameters
        ----------
        a
            First.
        """
        return a + b

    def good(a: int, *rest: int, **more: int) -> int:
        """Add numbers.

        Parameters
        ----------
        a : int
            First.
        *rest
            Further ones, in
            two lines.
        **more : named ones.

        Returns
        -------
        int
        """
        return a + sum(rest) + sum(more.values())

    def blind(*args: Any, **kwargs: Any) -> None:
        """Do."""

    assert len(list(problems("bad", bad, None))) == 4
    assert list(problems("good", good, None)) == []
    assert len(list(problems("blind", blind, None))) == 2
    assert list(problems("p", property(lambda self: 1), None)) != []
