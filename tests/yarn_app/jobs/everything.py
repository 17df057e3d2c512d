"""Shows what reached the driver program and a task: arguments, files, modules, archives, variables, user site."""

import json
import os
import site
import sys
from pathlib import Path

from howdah import Client


def look(number: int) -> dict[str, object]:
    import extra

    return {
        "number": number,
        "file": Path("lookup.csv").read_text(),
        "module": extra.VALUE,
        "zipped": __import__("zipped.inner").inner.VALUE,
        "archive": Path("model/weights.txt").read_text(),
        "variable": os.environ.get("COLOUR"),
        "java_options": os.environ.get("JAVA_TOOL_OPTIONS"),
        "user_site": site.ENABLE_USER_SITE,
        "python": sys.executable,
    }


if __name__ == "__main__":
    with Client() as client:
        here, there = look(0), client.submit(look, 1).result()
        total = sum(client.gather(client.map(lambda x: x * x, range(100))))
    print(json.dumps({"arguments": sys.argv[1:], "here": here, "there": there, "total": total}))
