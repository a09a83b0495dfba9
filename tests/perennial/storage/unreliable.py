"""A proxy that carries a request out and cuts the connection instead of answering it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Unreliable:
    """Stands before an HTTP server; of the requests of one method it answers none while `lose` says so."""

    def __init__(self, target: str) -> None:
        place = urlsplit(target)
        self._target = (place.hostname or "", place.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.lose = 0
        """How many of the next PUT requests are carried out without an answer."""
        self.lost: list[bytes] = []
        """First lines of these."""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError, ValueError):
            while request := _message(client):
                with socket.create_connection(self._target) as server:
                    server.sendall(_closing(request))
                    answer = b"".join(iter(lambda: server.recv(65536), b""))
                if request.startswith(b"PUT ") and self.lose:
                    self.lose -= 1
                    self.lost.append(request.partition(b"\r\n")[0])
                    return
                client.sendall(answer)
                return


def _message(client: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := client.recv(65536)):
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < int(lengths[0] if lengths else 0):
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


def _closing(request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body


@contextmanager
def unreliable(target: str) -> Iterator[Unreliable]:
    """Run such a proxy before a server."""
    proxy = Unreliable(target)
    try:
        yield proxy
    finally:
        proxy.close()
