"""A real PostgreSQL and a real S3 API on free loopback ports, started and stopped by the tests that need them."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import boto3
import psycopg2

ACCESS_KEY, SECRET_KEY, REGION = "perennial-test", "storage-secret-of-the-tests", "eu-central-1"
PASSWORD = "database-secret-of-the-tests"
_S3 = """
import sys
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""


@dataclass(frozen=True)
class Postgres:
    """A server with a database each for Prefect and MLflow."""

    port: int
    folder: Path

    def url(self, database: str, driver: str = "") -> str:
        """Return a SQLAlchemy URL; Prefect needs the driver `asyncpg`."""
        return f"postgresql{driver and '+'}{driver}://perennial:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def ask(self, database: str, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with psycopg2.connect(self.url(database)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())


@contextmanager
def postgres_server(databases: Sequence[str] = ("prefect", "mlflow")) -> Iterator[Postgres]:
    """Run a PostgreSQL of this test's own, with password authentication, in a folder that is removed at the end.

    PostgreSQL does not run as root, so there it runs as `nobody`.
    """
    binaries, account = _postgres_binaries(), _account()
    with tempfile.TemporaryDirectory(prefix="perennial-postgres-") as name, socket.create_server(("127.0.0.1", 0)) as s:
        folder, port = Path(name), s.getsockname()[1]
        (folder / "password").write_text(PASSWORD)
        for path in (folder, folder / "password"):
            os.chown(path, account.get("user", -1), account.get("group", -1))
        initdb = [binaries / "initdb", "-D", folder / "data", "-U", "perennial", "--auth=scram-sha-256", "-E", "UTF8"]
        subprocess.run(
            [*initdb, "--no-sync", f"--pwfile={folder / 'password'}"],
            cwd=folder,
            check=True,
            capture_output=True,
            **account,
        )
        options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
        command = [
            binaries / "postgres",
            "-D",
            folder / "data",
            *(f"--{key}={value}" for key, value in options.items()),
        ]
        s.close()
        with (folder / "log").open("w") as log:
            child = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **account)
        try:
            server = Postgres(port, folder)
            _create_databases(server, databases, child)
            yield server
        finally:
            child.send_signal(2)  # fast shutdown
            child.wait(timeout=60)


@dataclass(frozen=True)
class S3:
    """An S3 API; it takes any key until `refuse_unknown_keys`."""

    endpoint: str

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables with the keys, as the standard tools read them."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_DEFAULT_REGION": REGION}

    @property
    def client(self) -> Any:
        """A boto3 client with the keys."""
        keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY, "region_name": REGION}
        return boto3.client("s3", endpoint_url=self.endpoint, **keys)

    def create_bucket(self, name: str) -> str:
        """Make a bucket and return its URL."""
        self.client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        return f"s3://{name}"

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Return the sorted keys of a bucket."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return sorted(one["Key"] for page in pages for one in page.get("Contents", ()))

    @contextmanager
    def refuse_unknown_keys(self) -> Iterator[None]:
        """Let it ask who calls, and answer 403 to all, as nobody is known."""
        self._free_requests(0)
        try:
            yield
        finally:
            self._free_requests(inf)

    def _free_requests(self, count: float) -> None:
        request = urllib.request.Request(f"{self.endpoint}/moto-api/reset-auth", str(count).encode(), method="POST")
        request.add_header("Content-Type", "text/plain")
        urllib.request.urlopen(request).close()


@contextmanager
def s3_server() -> Iterator[S3]:
    """Run moto's server in a process that ends with this one, whatever ends it."""
    child = subprocess.Popen(
        [sys.executable, "-c", _S3], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdin and child.stdout
    try:
        port = child.stdout.readline().strip()
        assert port, "moto's server did not start; run `make setup`"
        yield S3(f"http://127.0.0.1:{port}")
    finally:
        child.stdin.close()
        child.wait(timeout=30)


def _postgres_binaries() -> Path:
    found = shutil.which("postgres")
    candidates = [*([Path(found).resolve()] if found else []), *Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    usable = [one.parent for one in candidates if (one.parent / "initdb").exists()]
    if not usable:
        raise RuntimeError(
            "These tests run a real PostgreSQL, and neither the PATH nor /usr/lib/postgresql/*/bin has `postgres` and "
            "`initdb`. Install it: apt-get install postgresql"
        )
    return usable[0]


def _account() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _create_databases(server: Postgres, databases: Sequence[str], child: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            connection = psycopg2.connect(server.url("postgres"))
            break
        except psycopg2.OperationalError:
            log = (server.folder / "log").read_text()
            assert child.poll() is None, f"PostgreSQL ended at once: {log}"
            assert time.monotonic() < deadline, f"PostgreSQL did not answer within 60 s: {log}"
            time.sleep(0.05)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for name in databases:
            cursor.execute(f'CREATE DATABASE "{name}"')
    connection.close()
