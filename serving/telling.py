"""Log lines of the service: one JSON object each, on standard error."""

import json
import sys
from typing import Any

from serving.clock import now


def tell(event: str, **fields: Any) -> None:
    """Write one line."""
    line = json.dumps({"at": now().isoformat(), "event": event, **fields}, default=str)
    print(line, file=sys.stderr, flush=True)
