"""`client_as_html`: a client as notebooks show it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

MAX_ROWS = 20
"""Workers that are listed; of the others, only the number is."""


def client_as_html(words: str, workers: Mapping[str, Any], dashboard: str) -> str:
    """Return HTML: the text `words`, the dashboard's link, and a row per worker with slots, memory and resources.

    >>> client_as_html("<Client x 1 workers>", {"w": {"host": "a", "slots": 2, "rss": 1 << 20, "memory": 0}}, "")[:59]
    '<b>Client</b> <code>&lt;Client x 1 workers&gt;</code><table'
    """
    text = f"<b>Client</b> <code>{html.escape(words)}</code>"
    if dashboard:
        link = html.escape(dashboard)
        text += f" <a href='{link}' target='_blank'>{link}</a>"
    if not workers:
        return text
    rows = []
    for name, worker in list(workers.items())[:MAX_ROWS]:
        used, limit = worker.get("rss", 0) / 2**20, worker.get("memory", 0) / 2**20
        memory = f"{used:,.0f} of {limit:,.0f} MiB" if limit else f"{used:,.0f} MiB"
        offers = ", ".join(f"{key}={amount:g}" for key, amount in worker.get("resources", {}).items())
        cells = (name, worker["host"], str(worker["slots"]), memory, offers)
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    if len(workers) > MAX_ROWS:
        rows.append(f"<tr><td colspan='5'>and {len(workers) - MAX_ROWS} more</td></tr>")
    heads = "".join(f"<th>{head}</th>" for head in ("worker", "host", "slots", "memory", "resources"))
    return f"{text}<table><tr>{heads}</tr>{''.join(rows)}</table>"
