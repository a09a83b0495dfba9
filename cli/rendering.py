"""`perennial render`: how an online service would run where its environment puts it, in the words of that place."""

import sys
from typing import Any

import yaml

from cli.arguments import Env, UseCaseName, choose_environment, open_workspace
from perennial.errors import Permanent
from perennial.workspace import Workspace


class NothingToRender(Permanent):
    """The use case answers nobody online, or nobody said which image does."""


def render(use_case: UseCaseName, env: Env = None) -> None:
    """Write how the service of a use case runs in an environment: variables, a compose file, or a cluster's objects.

    What was tried and taken back on a cluster is the journal's business; this is what the declaration asks for.
    """
    choose_environment(env)
    workspace = open_workspace(use_case)
    _require(workspace)
    sys.stdout.write(yaml.safe_dump_all(_rendered(workspace), sort_keys=False, width=120))


def _require(workspace: Workspace) -> None:
    settings, use_case = workspace.settings, workspace.use_case
    if use_case.serving is None:
        raise NothingToRender(f"`{use_case.slug}` declares no `serving`, so it has no service.")
    if settings.serves_on != "process" and not settings.serving_image:
        raise NothingToRender(
            f"`{settings.environment}` serves by containers but names no image. Set `serving_image` in its document, "
            "or `PERENNIAL_SERVING_IMAGE`."
        )


def _rendered(workspace: Workspace) -> list[dict[str, Any]]:
    from perennial.hosting.containers import container_service
    from perennial.hosting.manifests import Track, read_template, service_objects
    from perennial.hosting.promise import namespace_of, promise_of
    from tasks.hosting import TEMPLATE

    settings, slug = workspace.settings, workspace.use_case.slug
    promise, template = promise_of(settings, slug), read_template(TEMPLATE)
    if settings.serves_on == "kubernetes":
        route = (settings.serving_gateway, settings.serving_domain)
        return service_objects(template, Track(0, promise), None, namespace_of(settings), *route)
    if settings.serves_on == "docker":
        return [{"services": {slug: container_service(template, promise)}}]
    command = ["python", "-m", "serving", slug, "--replicas", str(settings.serving_replicas)]
    return [{"command": command, "environment": promise.variables}]
