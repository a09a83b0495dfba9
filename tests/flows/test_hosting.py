"""A service on a cluster through real flows: hosted by a run that may, left to another by one that may not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from blocks.documents import using
from flows.hosting import host, host_release
from perennial.hosting.errors import NoCluster, NotHosted
from perennial.values import Answer
from perennial.workspace import Workspace
from tasks.hosting import NoImage, is_hosted
from tasks.server import all_runs
from tests.deployments.kubernetes.world import IMAGES, SLUG, World, kubeconfig, world


@pytest.fixture
def hosted(server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with world(tmp_path) as made:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, made.address)))
        yield made


def settings(made: World, image: str = "good", word: str = "kubernetes") -> Workspace:
    changes = {"serving_image": f"{IMAGES}:{image}" if image else "", "work_pool": word, "cluster_context": "emulation"}
    return Workspace(made.ws.use_case, made.ws.settings.model_copy(update=changes))


def test_a_run_hosts_a_service_and_shows_how(hosted: World) -> None:
    with using(settings(hosted).settings):
        verdict = host(SLUG)
    assert verdict and verdict.answer is Answer.PASS
    assert hosted.image() == "good"
    with get_client(sync_client=True) as client:
        (shown,) = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[f"{SLUG}-hosting"])), limit=1
        )
    assert "runs" in str(shown.data) and f"`{IMAGES}:good`" in str(shown.data)


def test_code_that_does_not_run_fails_the_run(hosted: World) -> None:
    with using(settings(hosted).settings):
        host(SLUG)
    with using(settings(hosted, "crashing").settings), pytest.raises(NotHosted, match="crashes again and again"):
        host(SLUG)
    assert hosted.image() == "good"


def test_without_an_image_it_says_what_to_do(hosted: World) -> None:
    with using(settings(hosted, "").settings), pytest.raises(NoImage, match="perennial apply"):
        host(SLUG)


def test_elsewhere_there_is_nothing_to_host(hosted: World) -> None:
    with using(settings(hosted, word="process").settings):
        assert host(SLUG) is None
    assert not is_hosted(settings(hosted, word="docker"))
    assert hosted.api.requests == []


@pytest.mark.parametrize(("context", "why"), [("", "set `cluster_context`"), ("production", "`production`")])
def test_no_cluster_is_asked_that_is_not_declared(hosted: World, context: str, why: str) -> None:
    """The kubeconfig has a current context, which may be of any cluster."""
    declared = settings(hosted).settings.model_copy(update={"cluster_context": context})
    with using(declared), pytest.raises(NoCluster, match=why):
        host(SLUG)
    assert hosted.api.requests == []


@flow
def release(workspace: Workspace) -> None:
    """What `deploy` and `pipeline` do, which get no token of the cluster and wait for nothing."""
    host_release(workspace)
    host_release(workspace)


def test_a_release_leaves_the_cluster_to_a_run_of_its_own(hosted: World) -> None:
    ws = settings(hosted, "never-ready")
    release(ws)  # nobody applied: the model is released all the same
    with get_client(sync_client=True) as client:
        client.create_deployment(client.create_flow(host), name="test", entrypoint="flows.hosting.host")
        release(ws)
        deployment = client.read_deployment_by_name("host/test")
        (run,) = all_runs(client, {"deployment_id": {"any_": [str(deployment.id)]}})
    assert run.parameters == {"use_case": SLUG}
    assert run.state and run.state.is_scheduled()
    assert hosted.api.requests == []
