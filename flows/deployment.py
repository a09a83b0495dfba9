"""Deploy: let the version that passed the gate serve, at once or on trial first."""

from datetime import datetime

from prefect import flow

from flows.entry import main, now
from flows.hosting import host_release
from flows.occasion import Occasion, occasion
from flows.policy import POLICY
from perennial.errors import Permanent
from perennial.records import Judged, Released, RolloutStarted
from perennial.workspace import Workspace
from tasks.artifacts import publish_markdown, release_report
from tasks.deployment import release_version
from tasks.events import tell
from tasks.registration import project_aliases
from tasks.rollout import rollout_report


class NothingJudged(Permanent):
    """The gate has not spoken yet."""


@flow(**POLICY, description="Let the version that passed the gate serve.")
def deploy(use_case: str, period: str | None = None, as_of: datetime | None = None) -> Released | RolloutStarted:
    """Release the newest judged version, by the verdict of the gate that is declared now.

    1. Check that the gate passed it against the present champion, and that it loads.
    2. Record the release, which prediction follows from then on, and move the registry's aliases.

    Where the use case declares a shadow or canary and its service answers, 2. records the beginning of that trial
    instead and waits for nothing: the service's guard decides, and `roll_out` follows it.
    """
    with occasion(use_case, period, as_of) as this:
        return serve(this.workspace, _newest(this), this.as_of)


def serve(workspace: Workspace, judged: Judged, as_of: datetime) -> Released | RolloutStarted:
    """Release a version from a moment on, or begin its trial, and tell it."""
    made = release_version(workspace, judged, as_of, now())
    if isinstance(made, RolloutStarted):
        report, about = rollout_report(workspace.state(), made.number), f"Version {made.version} is on trial"
        publish_markdown(workspace.use_case.slug, "rollout", report, about)
    else:
        project_aliases(workspace)
        about = f"Version {made.version} serves"
        publish_markdown(workspace.use_case.slug, "release", release_report(made), about)
    tell(workspace, made, as_of)
    host_release(workspace)
    return made


def _newest(this: Occasion) -> Judged:
    judged = this.state.judged
    if not judged:
        raise NothingJudged(
            f"`{this.slug}` has no judged model at {this.as_of:%F %R}. Run `perennial register {this.slug}` first."
        )
    gate = this.workspace.use_case.gate_digest
    declared = [one for one in judged if one.model == judged[-1].model and one.gate == gate]
    return (declared or judged)[-1]


if __name__ == "__main__":
    main(deploy)
