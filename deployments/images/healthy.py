"""Whether the process of a container is well, for the engine that runs it: exit code 0 or 1.

`PERENNIAL_HEALTH` is the address that must answer with 200. Without it a container counts as well while its process
runs: a flow run opens no port, and is watched by the heartbeats that it sends to the Prefect server.
"""

import http.client
import os
import sys
from urllib.parse import urlsplit

PATIENCE = 3.0


def is_well(address: str) -> bool:
    """Say whether an address answers with 200."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=PATIENCE)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    asked = os.environ.get("PERENNIAL_HEALTH", "")
    sys.exit(0 if not asked or is_well(asked) else 1)
