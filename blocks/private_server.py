"""A private Prefect server for one process: started in a child, gone with its parent; it serves no UI.

It answers on a free loopback port with a password of its own, and keeps its runs in a SQLite file, which
`perennial up` shows. Prefect's own temporary server would be imported into this process first (2 s).
"""

import asyncio
import errno
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blocks.garbage import collect_apart
from perennial.errors import Transient
from perennial.storage_trouble import naming_full_storage

_LEAST_SPACE = 2**20
"""Bytes that its database needs at least to begin."""


class NoServer(Transient):
    """The private Prefect server did not come up."""


def server_environment(home: Path) -> dict[str, str]:
    """Return the variables that point a Prefect server at the runs below a folder."""
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def make_home(home: Path) -> None:
    """Make the folder of a server's database, for its owner alone: it holds Secret blocks beside their key."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.chmod(0o700)


@contextmanager
def private_server(home: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start a server at once and stop it at the end; yields it, still starting, with its password."""
    make_home(home)
    password = secrets.token_urlsafe(32)
    quick = {
        "PREFECT_SERVER_API_AUTH_STRING": f"perennial:{password}",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "blocks.private_server"],
        cwd=Path(__file__).parents[1],
        env={**os.environ, **server_environment(home), **quick},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(home / "server.log").open("w"),
        text=True,
        start_new_session=True,
    )
    try:
        yield child, f"perennial:{password}"
    finally:
        assert child.stdin
        child.stdin.close()
        child.wait()


def address_of(child: "subprocess.Popen[str]", home: Path) -> str:
    """Wait until the server answers and return the URL of its API.

    Raises:
        NoServer: It ended instead.
        StorageFull: It ended because there was no space left.
    """
    assert child.stdout
    port = child.stdout.readline().strip()
    if not port:
        with naming_full_storage(str(home)):
            raise NoServer(f"The private Prefect server ended before it could answer: {_last_words(home)}.")
    return f"http://127.0.0.1:{port}/api"


def _last_words(home: Path) -> str:
    if shutil.disk_usage(home).free < _LEAST_SPACE:
        return os.strerror(errno.ENOSPC)
    log = home / "server.log"
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else 'no message'}; see {log}"


def serve() -> None:
    """Answer on a free port, told on standard output, until standard input ends."""
    import uvicorn

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            assert sockets
            print(sockets[0].getsockname()[1], flush=True)

    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio asks for the protocol
    listener.bind(("127.0.0.1", 0))  # before it sends small answers at once; without it each waits 40 ms
    app = "prefect.server.api.server:create_app"
    server = Announcing(uvicorn.Config(app, factory=True, log_level="error", timeout_graceful_shutdown=5))

    def stop_with_parent() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=stop_with_parent, daemon=True).start()
    collect_apart()
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    serve()
