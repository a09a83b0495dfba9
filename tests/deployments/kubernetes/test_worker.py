"""The worker of a cluster: a flow run becomes a Job over real HTTP, as template and use case promise, and completes."""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun

from deployments.kubernetes_worker import UseCaseJob, declared_resources, give
from perennial.use_case import Resources
from tests.builders import make_use_case
from tests.deployments.kubernetes.access import Account
from tests.deployments.kubernetes.emulation import Api, Object, running_api
from tests.deployments.kubernetes.kubelet import running_jobs
from tests.deployments.kubernetes.policies import POLICIES
from tests.deployments.kubernetes.world import kubeconfig
from tests.servers import PERENNIAL, ROOT, Server, running_server, until

NAMESPACE = "perennial-dev"
ACCOUNT = Account("perennial-worker", NAMESPACE)
PASSWORD = "admin:canary-5d1f0a"
IMAGE = "registry.example.org/perennial-flows@sha256:" + 64 * "a"
SECRET = "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_"


@dataclass
class Running:
    """A run that has ended, and the API that its Job is in."""

    api: Api
    run: Any

    def job(self) -> Object:
        """The Job of the run; automations may have started others."""
        namespace, _, name = self.run["infrastructure_pid"].partition(":")
        job = self.api.get("jobs", name, namespace)
        assert job["metadata"]["labels"]["prefect.io/flow-run-id"] == self.run["id"]
        return job


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A run of `ingest` that a worker started, as it ended."""
    folder = tmp_path_factory.mktemp("worker")
    settings = make_use_case(folder, changes={"resources": {"cpu": 3, "memory": "5Gi"}}).settings
    places = {"PERENNIAL_STORAGE_ROOT": settings.storage_root, "PERENNIAL_USE_CASES": settings.use_cases}
    with running_api(ACCOUNT) as (api, address):
        variables = {
            **places,
            "PERENNIAL_WORK_POOL": "kubernetes",
            "PERENNIAL_FLOWS_IMAGE": IMAGE,
            "PERENNIAL_SERVING_IMAGE": IMAGE,
            "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
            "PREFECT_API_AUTH_STRING": PASSWORD,
            f"{SECRET}NAME": "perennial-prefect-login",
            f"{SECRET}KEY": "auth-string",
            "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES": NAMESPACE,
            "PREFECT_WORKER_WEBSERVER_PORT": "0",
            "KUBECONFIG": str(kubeconfig(folder, address)),
        }
        secrets = {"perennial-prefect-login": {"auth-string": PASSWORD}}
        with (
            running_server(folder, **variables) as server,
            running_jobs(api, {"perennial-environment": places}, secrets),
        ):
            server.run(PERENNIAL, "apply")
            worker = (sys.executable, "-m", "deployments.kubernetes_worker")
            server.start("env", "--unset=PREFECT_SERVER_API_AUTH_STRING", *worker)  # which is the server's alone
            yield Running(api, ended(server))


def ended(server: Server) -> Any:
    deployment = server.ask("/deployments/name/ingest/dev")
    parameters = {"use_case": "shop-returns", "period": "2024-01", "as_of": "2024-02-01T00:00:00Z"}
    run = server.ask(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})
    finals = {"COMPLETED", "FAILED", "CRASHED"}
    (done,) = until(
        150, lambda: [one for one in [server.ask(f"/flow_runs/{run['id']}")] if one["state_type"] in finals]
    )
    return done


@pytest.mark.long
def test_a_run_completes_in_its_job(ran: Running) -> None:
    assert ran.run["state_type"] == "COMPLETED", ran.run["state"]
    assert ran.run["infrastructure_pid"] == f"{NAMESPACE}:{ran.job()['metadata']['name']}"


@pytest.mark.long
def test_the_job_is_what_the_template_promised(ran: Running) -> None:
    job = ran.job()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert [(policy.__name__, found) for policy in POLICIES if (found := policy([job]))] == []
    assert container["image"] == IMAGE
    assert container["args"] == ["python", "-m", "prefect.engine"]
    assert container["envFrom"] == [{"configMapRef": {"name": "perennial-environment"}}]
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == "perennial-run"
    assert job["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    assert job["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "run"
    assert (job["spec"]["backoffLimit"], job["spec"]["ttlSecondsAfterFinished"]) == (0, 3600)


@pytest.mark.long
def test_the_job_is_of_the_size_that_the_use_case_declares(ran: Running) -> None:
    job = ran.job()
    resources = job["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources["requests"] == {"cpu": "3", "memory": "5Gi", "ephemeral-storage": "1Gi"}
    assert resources["limits"] == {"memory": "5Gi", "ephemeral-storage": "20Gi"}
    assert job["metadata"]["labels"]["perennial/use-case"] == "shop-returns"


UNASKED = {
    ("delete", "jobs"): "a run that is cancelled",
    ("get", "jobs"): "a run whose Job failed: whether it is the same Job still",
    ("get", "pods/log"): "a run that crashed: its last lines",
}
"""Rights that a run which completes need not have, and what needs them."""


@pytest.mark.long
def test_the_account_may_what_the_worker_asks_for_and_no_more(ran: Running) -> None:
    """What it was refused shows in the run, which would not have completed."""
    assert ran.api.rights <= ACCOUNT.rights <= ran.api.rights | UNASKED.keys()


@pytest.mark.long
def test_no_job_holds_the_password(ran: Running) -> None:
    job = ran.job()
    env = {one["name"]: one for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    of = {"secretKeyRef": {"name": "perennial-prefect-login", "key": "auth-string"}}
    assert env["PREFECT_API_AUTH_STRING"] == {"name": "PREFECT_API_AUTH_STRING", "valueFrom": of}
    assert "canary-5d1f0a" not in json.dumps(job)


def test_a_use_case_that_is_not_there_is_left_to_its_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PERENNIAL_USE_CASES", str(tmp_path))
    assert declared_resources("nobody") is None


@pytest.mark.parametrize(("variables", "cpu"), [({}, "3"), ({"memory_request": "512Mi"}, "1")])
def test_a_deployment_that_names_its_own_size_keeps_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], cpu: str
) -> None:
    settings = make_use_case(tmp_path, months=(), changes={"resources": {"cpu": 3}}).settings
    monkeypatch.setenv("PERENNIAL_USE_CASES", settings.use_cases)
    template = json.loads((ROOT / "deployments" / "work_pools" / "kubernetes.json").read_text())
    job = asyncio.run(UseCaseJob.from_template_and_values(template, variables, client=object()))  # type: ignore[arg-type]
    run = FlowRun(flow_id=uuid4(), parameters={"use_case": "shop-returns"}, name="some-run")
    job.prepare_for_flow_run(run, SimpleNamespace(id=uuid4(), name="test", updated=None, job_variables=variables))
    (container,) = job.job_manifest["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == cpu
    assert job.job_manifest["metadata"]["labels"]["perennial/use-case"] == "shop-returns"


def test_what_is_not_declared_stays_as_the_pool_has_it() -> None:
    kept = {"requests": {"cpu": "1"}, "limits": {"memory": "8Gi"}}
    volumes = [{"name": "tmp", "emptyDir": {"sizeLimit": "20Gi"}}]
    job = {"spec": {"template": {"spec": {"containers": [{"resources": kept}], "volumes": volumes}}}}
    give(job, Resources(disk="50Gi"))
    assert kept == {"requests": {"cpu": "1"}, "limits": {"memory": "8Gi", "ephemeral-storage": "50Gi"}}
    assert volumes == [{"name": "tmp", "emptyDir": {"sizeLimit": "50Gi"}}]
