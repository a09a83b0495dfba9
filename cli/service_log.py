"""Lines of the online service, which are JSON for machines, as people like to read them on a terminal."""

import json
from typing import Any

_WELL = 400
"""Statuses from which on a request failed."""
_LEFT_OUT = ("at", "level", "event")


def readable(line: str, verbose: bool = False) -> str | None:
    """Return a line of the log for people, `None` for one that would only fill the screen.

    Args:
        line: As the service wrote it; what is no JSON object stays as it is.
        verbose: Show also the requests that went well.
    """
    try:
        told = json.loads(line)
    except ValueError:
        return line.rstrip() or None
    if not isinstance(told, dict) or "event" not in told:
        return line.rstrip()
    if told["event"] == "request" and not verbose and int(told.get("status", 0)) < _WELL:
        return None
    clock = str(told.get("at", ""))[11:19]
    fields = "  ".join(f"{name}={_short(value)}" for name, value in told.items() if name not in _LEFT_OUT)
    return f"{clock}  {told['event']}  {fields}".rstrip()


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
