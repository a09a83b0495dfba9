"""The base job templates are what the workers of their types read, and give a run no more than it needs."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from prefect.workers.base import BaseJobConfiguration
from prefect.workers.process import ProcessJobConfiguration
from prefect_docker.worker import DockerWorkerJobConfiguration
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

TEMPLATES = Path(__file__).parents[2] / "deployments" / "work_pools"
CONFIGURATIONS: dict[str, type[BaseJobConfiguration]] = {
    "process": ProcessJobConfiguration,
    "docker": DockerWorkerJobConfiguration,
    "kubernetes": KubernetesWorkerJobConfiguration,
}


def configured(kind: str, **variables: Any) -> Any:
    template = json.loads((TEMPLATES / f"{kind}.json").read_text())
    given = {"env": {"PERENNIAL_ENV": "prod"}, **variables}
    return asyncio.run(CONFIGURATIONS[kind].from_template_and_values(template, given, client=object()))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_a_worker_reads_its_template(kind: str) -> None:
    assert configured(kind).env == {"PERENNIAL_ENV": "prod"}


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_every_placeholder_is_a_variable_that_is_described(kind: str) -> None:
    template = json.loads((TEMPLATES / f"{kind}.json").read_text())
    used = {word.split("}}")[0].strip() for word in json.dumps(template["job_configuration"]).split("{{")[1:]}
    assert used == set(template["variables"]["properties"])
    assert all("title" in one and "type" in one for one in template["variables"]["properties"].values())


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_no_public_registry_is_asked_for_an_image_that_apply_did_not_name(kind: str) -> None:
    template = json.loads((TEMPLATES / f"{kind}.json").read_text())
    assert template["variables"]["properties"]["image"]["default"].startswith("localhost/")


def test_a_process_outlives_its_worker_and_starts_at_once() -> None:
    found = configured("process")
    assert found.stream_output is False
    assert found.command == "python -m prefect.engine"


def test_a_container_has_no_rights_and_a_bound() -> None:
    found = configured("docker", mem_limit="2g")
    assert (found.auto_remove, found.privileged) == (True, False)
    assert found.mem_limit == found.memswap_limit == "2g"
    assert found.container_create_kwargs["cap_drop"] == ["ALL"]
    assert (found.container_create_kwargs["read_only"], list(found.container_create_kwargs["tmpfs"])) == (
        True,
        ["/tmp"],
    )
    assert found.container_create_kwargs["security_opt"] == ["no-new-privileges"]
    assert configured("docker", privileged=True).privileged is False


def test_a_pod_has_no_rights_and_a_bound() -> None:
    pod = configured("kubernetes", memory_limit="3Gi").job_manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["resources"]["limits"] == {"memory": "3Gi", "ephemeral-storage": "20Gi"}
