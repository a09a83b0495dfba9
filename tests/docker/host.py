"""What of `compose.yaml` is ours, run as it says: command, variables, secrets, volumes, bounds; it asserts nothing.

PostgreSQL is this machine's own, names lead to loopback, and ports are free ones.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.docker.engine import container, docker, inspect, options_of
from tests.servers import ROOT, free_port, until
from tests.storage_servers import Postgres, postgres_server

_NAMES = ("prefect", "mlflow")
_TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")


@dataclass
class Host:
    """One host with its services."""

    folder: Path
    images: dict[str, str]
    ports: dict[str, int]
    """Where each service listens."""
    running: dict[str, str]
    """The container of each service that was started."""

    def secret(self, name: str) -> str:
        """Return a secret as it was made."""
        return (self.folder / "secrets" / name).read_text().strip()

    def service(self, name: str) -> dict[str, Any]:
        """Return a service with the variables of `.env` filled in, and its own port."""
        told = {f"PERENNIAL_{target.upper()}_IMAGE": image for target, image in self.images.items()}
        text = re.sub(r"\$\{(\w+):[-?]([^}]*)\}", lambda one: told.get(one[1], one[2]), _TEXT)
        for other in _NAMES:
            text = text.replace({"prefect": "4200", "mlflow": "5000"}[other], str(self.ports[other]))
        found: dict[str, Any] = yaml.safe_load(text)["services"][name]
        text = yaml.safe_dump(found).replace("0.0.0.0", "127.0.0.1")
        text = re.sub(r"\b(8080|9464)\b", str(self.ports[name]), text)
        own: dict[str, Any] = yaml.safe_load(text)
        own["environment"] |= {"PREFECT_WORKER_WEBSERVER_PORT": self.ports[name]}
        if name.startswith("serving"):  # the image says it for the port of the file
            own["environment"] |= {"PERENNIAL_HEALTH": f"http://127.0.0.1:{self.ports[name]}/v2/health/live"}
        return own

    def options(self, name: str) -> tuple[str, ...]:
        """Return the options of `docker run` for a service."""
        service = self.service(name)
        secrets = [f"{self.folder / 'secrets' / one}:/run/secrets/{one}:ro" for one in service.get("secrets", ())]
        volumes = [f"{self.folder.name}-{one}" for one in service.get("volumes", ())]
        mounts = [part for one in (*secrets, *volumes) for part in ("--volume", one)]
        hosts = [part for one in _NAMES for part in ("--add-host", f"{one}:127.0.0.1")]
        return (*options_of(service, self.folder / f"{name}.env"), *mounts, *hosts)

    def run(self, name: str) -> str:
        """Run a service that ends to its end, and return what it said."""
        service = self.service(name)
        return docker(
            "run", "--rm", "--network", "host", *self.options(name), service["image"], *map(str, service["command"])
        )

    @contextmanager
    def started(self, name: str) -> Iterator[str]:
        """Run a service; yields its container once it calls itself well."""
        service = self.service(name)
        with container(service["image"], *map(str, service["command"]), options=self.options(name)) as identity:
            self.running[name] = identity
            try:
                until(240, lambda: inspect(identity)["State"]["Health"]["Status"] == "healthy")
            except AssertionError:
                raise AssertionError(f"`{name}` is not well: {docker('logs', identity, check=False)[-3000:]}") from None
            yield identity

    def execute(self, name: str, *command: str) -> str:
        """Run a command in the container of a service, as `docker compose exec` does."""
        return docker("exec", self.running[name], *command)


@contextmanager
def one_host(folder: Path, images: dict[str, str]) -> Iterator[Host]:
    """Make the secrets, start what is ours in the order that the file asks for, and apply the environment."""
    names = ("prefect", "mlflow", "apply", "worker", "serving-a", "metrics")
    host = Host(folder, images, {name: free_port() for name in names}, {})
    with postgres_server() as postgres, ExitStack() as stack:
        stack.callback(_remove_volumes, folder.name)
        _make_secrets(folder, postgres)
        for name in ("prefect", "mlflow"):
            stack.enter_context(host.started(name))
        host.run("apply")
        for name in ("worker", "serving-a", "metrics"):
            stack.enter_context(host.started(name))
        yield host


def _make_secrets(folder: Path, postgres: Postgres) -> None:
    """Make those that are missing, as the guide says; where the database is, is there before."""
    (folder / "secrets").mkdir()
    (folder / "secrets" / "prefect_database").write_text(postgres.url("prefect", "asyncpg"))
    (folder / "secrets" / "mlflow_database").write_text(postgres.url("mlflow"))
    script = folder / "make-secrets"
    script.write_bytes((ROOT / "deployments" / "compose" / "make-secrets").read_bytes())
    script.chmod(0o755)
    subprocess.run([script], check=True, capture_output=True, env=dict(os.environ))


def _remove_volumes(prefix: str) -> None:
    made = docker("volume", "ls", "--quiet", "--filter", f"name={prefix}-").split()
    if made:
        docker("volume", "rm", "--force", *made)
