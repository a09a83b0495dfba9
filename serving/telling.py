"""Log lines of the service: one JSON object each, on standard error."""

import json
import sys
from time import monotonic
from typing import Any

from serving.clock import now

AGAIN = 60.0
"""Seconds after which a trouble that lasts is told again."""


def tell(event: str, **fields: Any) -> None:
    """Write one line."""
    line = json.dumps({"at": now().isoformat(), "event": event, **fields}, default=str)
    print(line, file=sys.stderr, flush=True)


class Trouble:
    """What may fail at every try of something; told when it changes, and every minute while it lasts."""

    def __init__(self, event: str, **fields: Any) -> None:
        self._event, self._fields = event, fields
        self._told_at = 0.0
        self.now: str | None = None
        """What is wrong since the last try, `None` if nothing is."""

    def heard(self, error: Exception | None) -> None:
        """Hear how a try went."""
        before, self.now = self.now, f"{type(error).__name__}: {error}" if error else None
        if self.now and (self.now != before or monotonic() - self._told_at >= AGAIN):
            self._told_at = monotonic()
            tell(self._event, **self._fields, error=self.now)
