"""What a data engineer gets wrong; prints each error as JSON. `mistakes.py FOLDER` with table, broken and there."""

import json
import sys
from collections.abc import Callable

import howdah as hd
from howdah import Client

folder = sys.argv[1]
errors = {}


def attempt(name: str, act: Callable[[], object]) -> None:
    try:
        act()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
        errors[name] = {
            "type": type(error).__name__,
            "kinds": [kind.__name__ for kind in type(error).__mro__],
            "text": str(error),
            "notes": getattr(error, "__notes__", []),
            "line": error.__traceback__.tb_next.tb_lineno if error.__traceback__ and error.__traceback__.tb_next else 0,
        }


with Client() as client:
    table = hd.read_parquet(f"{folder}/table")
    attempt("missing input", lambda: hd.read_parquet(f"{folder}/nix").compute())
    attempt("truncated", lambda: hd.read_parquet(f"{folder}/broken").compute())
    attempt("unknown column", lambda: table.assign(x=table.valeu * 2))
    attempt("output exists", lambda: table.to_parquet(f"{folder}/there"))
    print(json.dumps({"errors": errors, "rows": len(table.compute())}))
