"""The emulated cluster comes to rest, whenever somebody changes his mind."""

from time import sleep

import pytest

from tests.deployments.kubernetes.controller import Controller
from tests.deployments.kubernetes.emulation import Api, Object
from tests.servers import until


@pytest.mark.parametrize("turns", range(8))
def test_an_edit_that_is_taken_back_leaves_as_many_pods_as_wanted(turns: int) -> None:
    """Also while one pod of the edit is ready and the next is not, which must not count as one that answers."""
    api = Api()
    controller = Controller(api)

    def run(image: str) -> None:
        spec = {"containers": [{"name": "serving", "image": image}]}
        template = {"metadata": {"labels": {"app": "shop"}}, "spec": spec}
        api.put(("deployments", "here", "shop"), {"metadata": {}, "spec": {"replicas": 2, "template": template}}, "me")

    def settled() -> bool:
        controller.turn()
        status: Object = api.get("deployments", "shop", "here")["status"]
        return [status[name] for name in ("replicas", "updatedReplicas", "availableReplicas")] == [2, 2, 2]

    run("good")
    until(5, settled)
    run("by-hand")
    for _ in range(turns):
        controller.turn()
        sleep(0.06)  # longer than a pod takes to be ready
    run("good")
    until(5, settled)
