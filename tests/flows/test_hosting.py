"""A service on a cluster through real flows: hosted by a run that may, left to another by one that may not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from blocks.documents import using
from flows.hosting import host, host_release
from perennial.hosting.errors import NotHosted
from perennial.values import Answer
from perennial.workspace import Workspace
from tasks.hosting import NoImage, is_hosted
from tasks.reconciliation import start_hosting
from tasks.server import all_runs
from tasks.starting import NotDeployed
from tests.deployments.kubernetes.world import IMAGES, SLUG, World, kubeconfig, world


@pytest.fixture
def hosted(server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with world(tmp_path) as made:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, made.address)))
        yield made


def settings(made: World, image: str = "good", word: str = "kubernetes") -> Workspace:
    changes = {"serving_image": f"{IMAGES}:{image}" if image else "", "work_pool": word}
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


@flow
def may_not(workspace: Workspace) -> list[str]:
    """What `pipeline` and `reconcile` do, which get no token of the cluster."""
    host_release(workspace)
    return start_hosting(workspace)


def test_a_run_that_may_not_ask_the_cluster_leaves_it_to_one_that_may(
    hosted: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    with pytest.raises(NotDeployed, match="host/test"):
        may_not(settings(hosted))
    with get_client(sync_client=True) as client:
        client.create_deployment(client.create_flow(host), name="test", entrypoint="flows.hosting.host")
        may_not(settings(hosted))
        may_not(settings(hosted))
        deployment = client.read_deployment_by_name("host/test")
        (run,) = all_runs(client, {"deployment_id": {"any_": [str(deployment.id)]}})
    assert run.parameters == {"use_case": SLUG}
    assert run.state and run.state.is_scheduled()
    assert hosted.api.requests == []
