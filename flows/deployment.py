"""Deploy: let the version that passed the gate serve."""

from datetime import datetime

from prefect import flow

from flows.entry import main
from flows.occasion import Occasion, occasion
from flows.policy import POLICY
from perennial.errors import Permanent
from perennial.records import Judged, Released
from perennial.workspace import Workspace
from tasks.artifacts import publish_markdown, release_report
from tasks.deployment import release_version
from tasks.events import tell
from tasks.registration import project_aliases


class NothingJudged(Permanent):
    """The gate has not spoken yet."""


@flow(**POLICY, description="Let the version that passed the gate serve.")
def deploy(use_case: str, period: str | None = None, as_of: datetime | None = None) -> Released:
    """Release the newest judged version.

    1. Check that the gate passed it against the present champion, and that it loads.
    2. Record the release, which prediction follows from then on, and move the registry's aliases.
    """
    with occasion(use_case, period, as_of) as this:
        return serve(this.workspace, _newest(this), this.as_of)


def serve(workspace: Workspace, judged: Judged, as_of: datetime) -> Released:
    """Release a version from a moment on, and tell it."""
    released = release_version(workspace, judged, as_of)
    project_aliases(workspace)
    about = f"Version {released.version} serves"
    publish_markdown(workspace.use_case.slug, "release", release_report(released), about)
    tell(workspace, released, as_of)
    return released


def _newest(this: Occasion) -> Judged:
    judged = this.state.judged
    if not judged:
        raise NothingJudged(
            f"`{this.slug}` has no judged model at {this.as_of:%F %R}. Run `perennial register {this.slug}` first."
        )
    return judged[-1]


if __name__ == "__main__":
    main(deploy)
