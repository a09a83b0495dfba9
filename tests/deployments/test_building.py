"""What was built is named by the digest that nobody can move."""

import pytest

from deployments.building import InNoRegistry, NotBuilt, pinned, with_images
from perennial.settings import Settings

NAME, OWN = "ghcr.io/team/perennial-flows:1f3c", "sha256:" + 64 * "a"
THERE, ELSEWHERE = "ghcr.io/team/perennial-flows@sha256:" + 64 * "b", "mirror:5000/perennial-flows@sha256:" + 64 * "c"


@pytest.mark.parametrize("known", [[THERE, ELSEWHERE], [ELSEWHERE, THERE]])
def test_the_digest_is_that_of_the_registry_that_the_image_is_named_for(known: list[str]) -> None:
    assert pinned(NAME, OWN, known) == THERE


@pytest.mark.parametrize("known", [[], [ELSEWHERE]])
def test_without_that_registry_it_is_the_identity_in_its_own_engine(known: list[str]) -> None:
    """A digest of another place would be pulled from there, where the next build never goes."""
    assert pinned(NAME, OWN, known) == OWN


def test_a_port_is_no_tag() -> None:
    known = ["localhost:5000/perennial-flows@sha256:" + 64 * "d"]
    assert pinned("localhost:5000/perennial-flows:1f3c", OWN, known) == known[0]


def test_what_a_document_names_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the image which was tried elsewhere is the one that runs here."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    document = {"environment": "prod", "storage_root": "s3://x", "work_pool": "docker"}
    named = Settings(**document, flows_image=THERE, serving_image=ELSEWHERE)
    assert with_images(named) == named
    with pytest.raises(NotBuilt, match="Is a Docker engine running"):
        with_images(Settings(**document))


@pytest.mark.parametrize("target", ["docker", "kubernetes"])
def test_services_in_containers_need_an_image_though_runs_are_processes(
    monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    document = {"environment": "prod", "storage_root": "s3://x", "serving_target": target}
    with pytest.raises(NotBuilt, match="Is a Docker engine running"):
        with_images(Settings(**document))
    named = Settings(**document, serving_image=THERE)
    assert with_images(named) == named


@pytest.mark.parametrize(
    ("places", "refused"),
    [
        ({"work_pool": "kubernetes"}, "`flows_image` and `serving_image`"),
        ({"work_pool": "kubernetes", "serving_target": "docker"}, "`flows_image` would"),
        ({"work_pool": "process", "serving_target": "kubernetes"}, "`serving_image` would"),
    ],
    ids=str,
)
def test_what_no_cluster_can_pull_is_not_applied_to_one(places: dict[str, str], refused: str) -> None:
    given = {"environment": "prod", "storage_root": "s3://x", **places}
    with pytest.raises(InNoRegistry, match=f"{refused}.*PREFECT_DEFAULT_DOCKER_BUILD_NAMESPACE"):
        with_images(Settings(**given, flows_image=OWN, serving_image=OWN))
    pulled = Settings(**given, flows_image=THERE, serving_image=THERE)
    assert with_images(pulled) == pulled


def test_one_engine_runs_what_it_built() -> None:
    own = Settings(environment="prod", storage_root="s3://x", work_pool="docker", flows_image=OWN, serving_image=OWN)
    assert with_images(own) == own
