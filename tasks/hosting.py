"""A service on a cluster, for flows: connected, followed to its end, told to people; `perennial.hosting` decides."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from blocks.documents import PROJECT
from blocks.secrets import keeping_secrets
from perennial.errors import Permanent
from perennial.hosted import Hostings, hostings
from perennial.workspace import Workspace
from tasks.artifacts import markdown_table, publish_markdown, verdict_report

if TYPE_CHECKING:
    from perennial.hosting.following import Hosted

TEMPLATE = PROJECT / "deployments" / "kubernetes" / "serving"


class NoImage(Permanent):
    """Nobody said which image the services run."""


def is_hosted(workspace: Workspace) -> bool:
    """Say whether a use case answers online, on a cluster, and has a release without which nothing gets ready."""
    if workspace.use_case.serving is None or workspace.settings.serves_on != "kubernetes":
        return False
    return workspace.state().champion is not None


def host_service(workspace: Workspace, clock: Callable[[], datetime], tell: Callable[[str], None]) -> "Hosted":
    """Let the cluster run the service as it is declared, and follow newer code to its end.

    Raises:
        NoImage: The environment names none.
        NoCluster: This process may not ask a cluster.
        NotHosted: The newer code was taken back.
        Superseded: Somebody asked for a newer one since.
    """
    from perennial.hosting.cluster import Cluster
    from perennial.hosting.following import Follower, follow
    from perennial.hosting.manifests import read_template
    from perennial.hosting.promise import namespace_of, promise_of

    settings, slug = workspace.settings, workspace.use_case.slug
    if not settings.serving_image:
        raise NoImage(
            f"`{settings.environment}` serves on a cluster, but names no image. Run `perennial apply`, which builds "
            "one, or set `serving_image` in its document."
        )
    said: list[str] = []

    def tell_and_keep(text: str) -> None:
        said.append(text)
        tell(text)

    try:
        with keeping_secrets(), Cluster.connect(namespace_of(settings), settings.cluster_context) as cluster:
            follower = Follower(workspace, cluster, read_template(TEMPLATE), promise_of(settings, slug))
            return follow(follower, clock, time.sleep, tell_and_keep)
    finally:
        found = hostings(workspace.journal.entries())
        if found.all:
            publish_markdown(slug, "hosting", hosting_report(found, said), f"Hosting {found.newest}")


def hosting_report(found: Hostings, told: Sequence[str]) -> str:
    """What runs, what was to run of late, what was said of it, and what a run saw and set right on its way."""
    rows = [
        (one.started.number, f"`{one.started.image}`", f"{one.at:%Y-%m-%d %H:%M}", _how_far(found, one.started.number))
        for one in list(found.all.values())[-10:]
    ]
    newest = found.all[found.newest]
    said = [verdict_report("Last verdict", newest.verdict)] if newest.verdict else []
    seen = ["### What this run saw", "\n".join(f"- {one}" for one in told)] if told else []
    return "\n\n".join(["## Hosting", markdown_table(("number", "image", "began", "state"), rows), *said, *seen])


def _how_far(found: Hostings, number: int) -> str:
    one = found.all[number]
    if found.current is one.started:
        return "runs"
    if one.is_open:
        return "everywhere, not ready yet" if one.share is None else f"{one.share:.0%} of the requests"
    return "ended"
