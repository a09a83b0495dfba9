"""The images of an environment whose flow runs are containers: built by the steps of `prefect.yaml`, named by digest.

What is named by its digest cannot become something else under the same tag. It starts no container. `make images`
builds without applying anything.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from blocks.documents import PROJECT
from deployments.definition import REVISION, read_definition
from perennial.errors import Permanent
from perennial.model.revision import code_revision
from perennial.settings import Settings

NOT_BUILT = "built by `perennial apply`"
"""Stands in a plan for the digest of an image that nobody has built yet."""
_STEP = "prefect_docker.deployments.steps.build_docker_image"


class NotBuilt(Permanent):
    """An image could not be built or pushed, or no Docker engine answers."""


class InNoRegistry(Permanent):
    """A cluster is to run an image that only the engine which built it has."""


def with_images(settings: Settings) -> Settings:
    """Return settings that name both images by digest: built now, where the document names none.

    Raises:
        NotBuilt: A step failed; its output was shown.
        InNoRegistry: A cluster could not pull one of them.
    """
    named = settings.model_copy(update=_named(build_images())) if _needs_images(settings) else settings
    runs_on = {"flows_image": settings.work_pool, "serving_image": settings.serves_on}
    local = [f"`{one}`" for one, where in runs_on.items() if where == "kubernetes" and _is_local(getattr(named, one))]
    if local:
        raise InNoRegistry(
            f"`{settings.environment}` runs on a cluster, and {' and '.join(local)} would be the identity of an image "
            "in the engine that built it, which no node can pull. Set PREFECT_DEFAULT_DOCKER_BUILD_NAMESPACE to a "
            "registry (registry.example.org/team), so that `perennial apply` pushes what it builds and names it by the "
            "digest there. Nothing was applied."
        )
    return named


def with_known_images(settings: Settings) -> Settings:
    """Return settings that name both images as they were built of this revision, without building."""
    return settings.model_copy(update=_named(_known_images(settings))) if _needs_images(settings) else settings


def build_images(project: Path = PROJECT) -> dict[str, str]:
    """Run the build steps, push where a registry is set, and return each image by digest, by its target.

    What the engine says meanwhile goes to standard error.

    Args:
        project: Folder that is built from.

    Raises:
        NotBuilt: A step failed; its output was shown.
    """
    with chdir(project), _revision(), redirect_stdout(sys.stderr):
        return {one["id"]: _built(one) for one in _arguments(read_definition("dev", project / "prefect.yaml"))}


def pinned(name: str, identity: str, known: Sequence[str]) -> str:
    """Return how an image is named so that nobody can put another in its place.

    That is the digest which the registry of its name gave it. Without one it is the identity of the image in its own
    engine, which no other engine knows.

    Args:
        name: With the tag, as `ghcr.io/team/perennial-flows:1f3c`.
        identity: `sha256:...`, of the engine.
        known: `RepoDigests` of the engine; of every registry that the image was ever pushed to.
    """
    repository = name.rpartition(":")[0]
    return next((one for one in known if one.partition("@")[0] == repository), identity)


def _needs_images(settings: Settings) -> bool:
    if settings.work_pool != "process":
        return not settings.flows_image
    return settings.serves_on != "process" and not settings.serving_image


def _is_local(image: str) -> bool:
    return image.startswith("sha256:")


def _named(images: dict[str, str]) -> dict[str, str]:
    return {f"{target}_image": image for target, image in images.items()}


def _arguments(definition: dict[str, Any]) -> list[dict[str, Any]]:
    return [step[_STEP] for step in definition["build"]]


def _built(step: dict[str, Any]) -> str:
    """Run a step as Prefect would, but without the server that it asks about blocks that no step refers to."""
    from prefect.utilities.dockerutils import BuildError
    from prefect.utilities.templating import apply_values
    from prefect_docker.deployments.steps import build_docker_image, push_docker_image

    arguments = {name: value for name, value in apply_values(step, {}).items() if name != "id"}
    try:
        built = build_docker_image(**arguments)
        if "/" in built["image_name"]:
            push_docker_image(image_name=built["image_name"], tag=built["tag"])
    except (BuildError, RuntimeError, OSError) as error:
        raise NotBuilt(
            f"The image `{step['image_name']}` of this revision was not built: {error} Is a Docker engine running, and "
            "does DOCKER_HOST name it? Nothing was applied."
        ) from error
    return _digest(built["image"])


def _digest(name: str) -> str:
    from prefect.utilities.dockerutils import docker_client

    with docker_client() as client:
        image = client.images.get(name)
    return pinned(name, str(image.id), image.attrs.get("RepoDigests") or ())


def _known_images(settings: Settings) -> dict[str, str]:
    from prefect.settings import PREFECT_DEFAULT_DOCKER_BUILD_NAMESPACE

    registry = PREFECT_DEFAULT_DOCKER_BUILD_NAMESPACE.value()
    found = {}
    for one in _arguments(read_definition(settings.environment)):
        name = "/".join(filter(None, [registry, one["image_name"]]))
        try:
            found[one["id"]] = _digest(f"{name}:{code_revision()}")
        except RuntimeError:  # no engine, or it has no such image
            found[one["id"]] = NOT_BUILT
    return found


@contextmanager
def _revision() -> Iterator[None]:
    before = os.environ.get(REVISION)
    os.environ[REVISION] = code_revision()
    try:
        yield
    finally:
        if before is None:
            del os.environ[REVISION]


if __name__ == "__main__":
    print(json.dumps(build_images(*map(Path, sys.argv[1:]))))
