"""What a node does with Jobs: it runs the command of the pod as a process on this machine, with the pod's variables."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.deployments.kubernetes.emulation import Api, Object
from tests.servers import ROOT

WHO = "kubelet"


class Kubelet:
    """Runs each Job once."""

    def __init__(
        self, api: Api, maps: Mapping[str, Mapping[str, str]], secrets: Mapping[str, Mapping[str, str]]
    ) -> None:
        """`maps` and `secrets` are the ConfigMaps and Secrets that pods may refer to, by name."""
        self._api, self._maps, self._secrets = api, maps, secrets
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def turn(self) -> None:
        """Start what is new and tell what has ended."""
        with self._api.changed:
            jobs = [one for place, one in self._api.objects.items() if place[0] == "jobs"]
        for job in jobs:
            name = job["metadata"]["name"]
            if name not in self._running:
                self._running[name] = self._start(job)
            elif (code := self._running[name].poll()) is not None:
                self._tell(job, "Failed" if code else "Succeeded")

    def stop(self) -> None:
        for one in self._running.values():
            one.kill()
            one.wait()

    def _start(self, job: Object) -> "subprocess.Popen[bytes]":
        template, meta = job["spec"]["template"], job["metadata"]
        container = template["spec"]["containers"][0]
        labels = {**template["metadata"]["labels"], "job-name": meta["name"]}
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
        pod = {"metadata": {"labels": labels, "ownerReferences": [owner]}, "spec": template["spec"]}
        self._api.put(("pods", meta["namespace"], f"{meta['name']}-pod"), {**pod, "status": {"phase": "Running"}}, WHO)
        folder = Path(sys.executable).parent
        inherited = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "HOME": os.environ.get("HOME", "/tmp")}
        variables = {**inherited, **self.variables(container)}
        return subprocess.Popen(container["args"], cwd=ROOT, env=variables, stdout=subprocess.DEVNULL)

    def variables(self, container: Object) -> dict[str, str]:
        """What the container is told, with what is referred to."""
        told: dict[str, str] = {}
        for source in container.get("envFrom", []):
            told |= self._maps[source["configMapRef"]["name"]]
        for one in container["env"]:
            if "valueFrom" in one:
                of = one["valueFrom"]["secretKeyRef"]
                told[one["name"]] = self._secrets[of["name"]][of["key"]]
            else:
                told[one["name"]] = one["value"]
        return told

    def _tell(self, job: Object, phase: str) -> None:
        name, space = job["metadata"]["name"], job["metadata"]["namespace"]
        kind = "Complete" if phase == "Succeeded" else "Failed"
        done = {"conditions": [{"type": kind, "status": "True"}], "succeeded": int(phase == "Succeeded")}
        self._api.patch("jobs", name, {"status": done}, "", space)
        self._api.patch("pods", f"{name}-pod", {"status": {"phase": phase}}, "", space)


@contextmanager
def running_jobs(
    api: Api, maps: Mapping[str, Mapping[str, str]], secrets: Mapping[str, Mapping[str, str]]
) -> Iterator[Kubelet]:
    """Let a node run the Jobs of an API."""
    ending, kubelet = threading.Event(), Kubelet(api, maps, secrets)

    def work() -> None:
        while not ending.wait(0.1):
            kubelet.turn()

    thread = threading.Thread(target=work, name="kubelet", daemon=True)
    thread.start()
    try:
        yield kubelet
    finally:
        ending.set()
        thread.join()
        kubelet.stop()
