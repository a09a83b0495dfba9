"""The worker of a cluster: Prefect's own, which gives each run what its use case declares to need.

`python -m deployments.kubernetes_worker` takes its pool from the environment it is in. A pool has one template and a
deployment one set of job variables, but one deployment serves all use cases; so the worker looks at the run.
"""

import asyncio
import signal
from pathlib import Path
from typing import Any

from prefect_kubernetes.worker import (  # type: ignore[import-untyped]
    KubernetesWorker,
    KubernetesWorkerJobConfiguration,
)

from blocks.documents import read_settings
from deployments.item import pool_name
from perennial.errors import PerennialError
from perennial.use_case import Resources
from perennial.use_case_file import load_use_case


class UseCaseJob(KubernetesWorkerJobConfiguration):  # type: ignore[misc]
    """The Job of a run, with the resources of the use case that the run is about, where its deployment names none."""

    def prepare_for_flow_run(self, flow_run: Any, deployment: Any = None, *args: Any, **kwargs: Any) -> None:
        """Fill in what only the run knows."""
        slug = flow_run.parameters.get("use_case")
        if isinstance(slug, str):
            self.labels["perennial/use-case"] = slug
            if not _names_resources(deployment, flow_run) and (needed := declared_resources(slug)):
                give(self.job_manifest, needed)
        super().prepare_for_flow_run(flow_run, deployment, *args, **kwargs)


class UseCaseWorker(KubernetesWorker):  # type: ignore[misc]
    """Starts one Job per run, of the size that its use case declares."""

    job_configuration = UseCaseJob

    @classmethod
    def __dispatch_key__(cls) -> str:
        """Its name among all workers, so that it does not push Prefect's own of the same type aside."""
        return "perennial-kubernetes"


def declared_resources(slug: str) -> Resources | None:
    """Return what a use case says that its runs need; `None` where it says nothing.

    One that is not there, or wrong, is nothing to the worker: its run starts, and says so.
    """
    try:
        return load_use_case(Path(read_settings().use_cases), slug).resources
    except PerennialError:
        return None


def give(job: dict[str, Any], needed: Resources) -> None:
    """Put resources into a Job in place of those of the pool; what is not declared stays."""
    pod = job["spec"]["template"]["spec"]
    asked, bounds = (pod["containers"][0]["resources"].setdefault(one, {}) for one in ("requests", "limits"))
    if needed.cpu:
        asked["cpu"] = f"{needed.cpu:g}"
    if needed.memory:
        asked["memory"] = bounds["memory"] = needed.memory
    if needed.disk:
        bounds["ephemeral-storage"] = needed.disk
        for volume in pod.get("volumes", []):
            if "emptyDir" in volume:
                volume["emptyDir"]["sizeLimit"] = needed.disk


def _names_resources(*given: Any) -> bool:
    """Whether a deployment or run says itself what it needs, as those that only wait do."""
    variables = {name for one in given for name in (getattr(one, "job_variables", None) or {})}
    return bool(variables & {"cpu_request", "memory_request", "memory_limit"})


async def work(pool: str) -> None:
    """Poll a pool until told to end; Jobs that were started live on."""
    this = asyncio.current_task()
    assert this
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    try:
        await UseCaseWorker(work_pool_name=pool, create_pool_if_not_found=False).start(with_healthcheck=True)
    except asyncio.CancelledError:
        print("The worker ends; its Jobs live on.", flush=True)


if __name__ == "__main__":
    asyncio.run(work(pool_name(read_settings().environment)))
