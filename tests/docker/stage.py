"""The loop with its flow runs and its service in containers, everything else as in production; it asserts nothing.

PostgreSQL, an S3 API, the Prefect and MLflow servers and a docker worker run on loopback, which the containers share.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import yaml

from blocks.documents import read_document
from perennial.hosting.containers import container_service
from perennial.hosting.manifests import read_template
from perennial.hosting.promise import PORT, promise_of
from perennial.model.revision import code_revision
from perennial.records import Released
from perennial.release.reports import Report, read_reports
from perennial.release.rollout_evidence import is_fresh
from perennial.settings import Settings
from perennial.workspace import Workspace
from tasks.hosting import TEMPLATE
from tests.builders import deliver, make_use_case, write_month
from tests.docker.engine import container, docker, inspect, options_of
from tests.end_to_end.test_postgres_s3 import AUTH, BUCKET, LOGIN, ROOT, start_registry
from tests.faults.serving.stage import ASKED
from tests.servers import PERENNIAL, PREFECT, Server, free_port, running_server, until
from tests.servers import ROOT as PROJECT
from tests.storage_servers import PASSWORD, S3, SECRET_KEY, postgres_server, s3_server

BEFORE, MONTH, END = "2024-03", "2024-04", "2024-05-01T00:00:00Z"
"""The month that the loop lives through, the one before it, and the moment from which it is over."""
SERVING = {
    "rollout": "canary",
    "timeout": "30s",
    "canary": {"steps": [0.5]},
    "trial": {"min_answers": 40, "deadline": "30m"},
    "health": {"min_answers": 20, "slower_than": "25s", "errors": 0.2},
}
"""Patient, since three services share two cores with everything else: how fast they answer is judged elsewhere."""
RUN = "io.prefect.flow-run-id"
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
SAVING = """
import json, sys
from prefect.blocks.system import Secret

for name, value in json.loads(sys.argv[1]).items():
    Secret(value=value).save(name)
"""
OF_SERVERS = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_SERVER_API_AUTH_STRING")
"""A worker hands all of Prefect's variables that it has to its runs, so it must not have these."""
TOKEN = "token-secret-of-the-tests"
SECRETS = (SECRET_KEY, LOGIN, AUTH.partition(":")[2], PASSWORD, TOKEN)


@dataclass
class Run:
    """A flow run that ended, and how long it took to begin."""

    cold_start: float
    """Seconds from its creation to the first moment that its code ran."""
    variables: list[str]
    """Environment of its container, as `NAME=value`."""


@dataclass
class Stage:
    """All that the loop runs on."""

    server: Server
    s3: S3
    settings: Settings
    """Of the environment, as a process outside of the containers sees it."""
    endpoint: str
    registry: str = ""
    containers: dict[str, list[str]] = field(default_factory=dict)
    """Environment of each container of a flow run that was created, by the run."""

    @property
    def ws(self) -> Workspace:
        """The small use case of the tests, read anew."""
        return Workspace.open("shop-returns", self.settings)

    def block(self) -> Any:
        """Return the document of the environment that the server keeps."""
        found = self.server.ask("/block_documents/filter", {})
        return next(one for one in found if one["name"] == "test" and "storage_root" in one["data"])

    def run(self, deployment: str, **parameters: str) -> Run:
        """Run a deployment to its end, and see that it completed, in a container."""
        identity = self.server.ask(f"/deployments/name/{deployment}")["id"]
        created = self.server.ask(f"/deployments/{identity}/create_flow_run", {"parameters": parameters})
        path = f"/flow_runs/{created['id']}"
        ended = until(420, lambda: one if (one := self.server.ask(path))["state_type"] in ENDED else None)
        began = datetime.fromisoformat(ended["start_time"]) - datetime.fromisoformat(created["created"])
        assert ended["state_type"] == "COMPLETED", f"{deployment}: {ended['state']['message']}"
        return Run(began.total_seconds(), until(30, lambda: self.containers.get(created["id"])))

    def live_a_month(self) -> Released:
        """Deliver the month before, and let the loop live through the month, in a container, to its first release."""
        deliver(self.ws, BEFORE)
        self.run("pipeline/test", use_case="shop-returns", period=MONTH, as_of=END)
        champion = self.ws.state().champion
        assert champion, [entry.record for entry in self.ws.journal.entries()]
        return champion

    def register(self) -> None:
        """Give the registry the version that a test put into the journal by hand."""
        from mlflow import MlflowClient

        client = MlflowClient(self.registry)
        first = client.get_model_version("shop-returns", "1")
        client.create_model_version("shop-returns", first.source, first.run_id, model_id=first.source.split("/")[-2])

    def live(self) -> list[Report]:
        """Return the reports of the replicas that are there."""
        at = datetime.now(UTC)
        return [one for one in read_reports(self.ws) if is_fresh(one, at)]

    @contextmanager
    def service(self, image: str, folder: Path) -> Iterator[tuple[str, int]]:
        """Run the service as `perennial render` promises it, but for its address; yields its id and port once well."""
        settings, port = self.settings.model_copy(update={"serving_image": image}), free_port()
        promised = yaml.safe_dump(container_service(read_template(TEMPLATE), promise_of(settings, "shop-returns")))
        found = yaml.safe_load(promised.replace("0.0.0.0", "127.0.0.1").replace(str(PORT), str(port)))
        place = f"{settings.use_cases}:{found['environment']['PERENNIAL_USE_CASES']}:ro"
        options = ("--volume", place, *options_of(found, folder / f"{port}.env"))
        with container(found["image"], *found["command"], options=options) as identity:
            until(180, lambda: inspect(identity)["State"]["Health"]["Status"] == "healthy")
            yield identity, port


@contextmanager
def watching() -> Iterator[dict[str, list[str]]]:
    """Keep the environment of each container of a flow run, by the run: the container is removed when it ends.

    Those that are left at the end, as of runs that automations started, are removed then: they outlive their worker.
    """
    found: dict[str, list[str]] = {}
    created: list[str] = []
    command = ["docker", "events", "--filter", "event=create", "--filter", f"label={RUN}", "--format", "{{.ID}}"]

    def keep(lines: Any) -> None:
        for identity in map(str.strip, lines):
            created.append(identity)
            told = docker("inspect", "--format", "{{json .Config}}", identity, check=False)
            if told.startswith("{"):
                config = json.loads(told)
                found[config["Labels"][RUN]] = config["Env"]

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:
        thread = Thread(target=keep, args=(events.stdout,), daemon=True)
        thread.start()
        try:
            yield found
        finally:
            events.terminate()
            thread.join()
            docker("rm", "--force", *created, check=False)


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Start everything, apply the environment and run its worker."""
    made = make_use_case(folder, months=(BEFORE, MONTH), changes={"serving": SERVING}).settings
    write_month(Path(made.use_cases) / "shop-returns", ASKED, rows=500, seed=4)
    shutil.copytree(PROJECT / "use_cases" / "flight-delay", Path(made.use_cases) / "flight-delay")
    for path in (folder, *Path(made.use_cases).rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with ExitStack() as stack:
        postgres, s3 = stack.enter_context(postgres_server()), stack.enter_context(s3_server())
        s3.create_bucket(BUCKET)
        registry = f"http://127.0.0.1:{free_port()}"
        server = stack.enter_context(running_server(folder, **_variables_of_all(made, postgres, s3, registry)))
        start_registry(server, postgres, s3, registry)
        settings = made.model_copy(update={"storage_root": ROOT, "storage_endpoint": s3.endpoint})
        stage = Stage(server, s3, settings, s3.endpoint, registry, stack.enter_context(watching()))
        login = {"MLFLOW_TRACKING_USERNAME": "perennial", "MLFLOW_TRACKING_PASSWORD": LOGIN}
        with _environment({**s3.variables, **login, "PERENNIAL_SERVING_TOKENS": TOKEN}):
            server.run(PERENNIAL, "apply", "--env", "test", "--json")
            _say_where(stage)
            without = [f"--unset={name}" for name in OF_SERVERS]
            server.start(
                "env", *without, PREFECT, "worker", "start", "--pool", "perennial-test", "--name", "of-the-tests"
            )
            yield stage


def _variables_of_all(made: Settings, postgres: Any, s3: S3, registry: str) -> dict[str, str]:
    shared = {"network_mode": "host", "volumes": [f"{made.use_cases}:/use_cases:ro"]}
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres.url("prefect", "asyncpg"),
        "PREFECT_SERVER_API_AUTH_STRING": AUTH,
        "PREFECT_API_AUTH_STRING": AUTH,
        "PERENNIAL_ENV": "test",
        "PERENNIAL_REVISION": code_revision(),  # as the images were built, though somebody edits the checkout meanwhile
        "PERENNIAL_WORK_POOL": "docker",
        "PERENNIAL_JOB_VARIABLES": yaml.safe_dump(shared, default_flow_style=True),
        "PERENNIAL_STORAGE_ROOT": ROOT,
        "PERENNIAL_STORAGE_ENDPOINT": s3.endpoint,
        "PERENNIAL_MLFLOW_TRACKING_URI": registry,
        "PERENNIAL_USE_CASES": made.use_cases,
        "MLFLOW_TRACKING_USERNAME": "perennial",
        "MLFLOW_TRACKING_PASSWORD": LOGIN,
        **s3.variables,
    }


def _say_where(stage: Stage) -> None:
    """Give the containers what a team writes into its document, and the secrets that it names."""
    places = {"storage_root": ROOT, "storage_endpoint": stage.endpoint, "mlflow_tracking_uri": stage.registry}
    stage.server.ask(
        f"/block_documents/{stage.block()['id']}", {"data": {**places, "use_cases": "/use_cases"}}, "PATCH"
    )
    values = {**stage.s3.variables, "MLFLOW_TRACKING_USERNAME": "perennial", "MLFLOW_TRACKING_PASSWORD": LOGIN}
    named = {block: values[variable] for variable, block in read_document("test")["secrets"].items()}
    stage.server.run(sys.executable, "-c", SAVING, json.dumps(named))


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
