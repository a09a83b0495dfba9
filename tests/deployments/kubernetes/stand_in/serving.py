"""`python -m serving`, without a model: answers probes, crashes, or never gets ready."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BEHAVIOUR = os.environ["BEHAVIOUR"]


class Probes(BaseHTTPRequestHandler):
    """What a kubelet asks."""

    def do_GET(self) -> None:
        """Live always, ready unless it never is."""
        self.send_response(503 if self.path == "/readyz" and BEHAVIOUR == "never-ready" else 200)
        self.end_headers()


if __name__ == "__main__":
    if BEHAVIOUR == "crashing":
        sys.exit(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("0.0.0.0", 8080), Probes).serve_forever()
