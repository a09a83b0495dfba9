"""Roll out: follow a version on trial to its end; the service's guards decide, and so does this run, each second."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from prefect import flow
from prefect.logging import get_run_logger

from flows.entry import main, now
from flows.occasion import occasion
from flows.policy import POLICY
from perennial.errors import PerennialError, Transient
from perennial.records import Entry, Released, RolloutEnded
from perennial.release.guarding import guard
from perennial.state import Rollout
from perennial.workspace import Workspace
from tasks.artifacts import publish_markdown
from tasks.events import tell
from tasks.registration import project_aliases
from tasks.rollout import rollout_report

EVERY = 1.0
GRACE = timedelta(minutes=5)
"""After the deadline, for a store that is away: then the run gives up, and reconciliation starts another."""


class StillOnTrial(Transient):
    """The deadline has passed, and the end of the trial could not be recorded."""


@flow(**POLICY, description="Follow a version on trial to its end.")
def roll_out(use_case: str) -> Released | RolloutEnded | None:
    """Follow the version that is on trial.

    1. Look every second at what replicas report and labels show, and take the step that follows, until the trial ends.
    2. Let the registry's aliases follow, show the evidence, and tell how it ended.

    Returns:
        The release, or why it was taken back; `None` if nothing is on trial, or another release came first.
    """
    with occasion(use_case) as this:
        workspace = this.workspace
        rollout = workspace.state().rollout
        if rollout is None:
            return None
        end = _follow(workspace, rollout, now)
        project_aliases(workspace)
        number = rollout.started.number
        about = f"How the trial of version {rollout.started.version} ended"
        publish_markdown(use_case, "rollout", rollout_report(workspace.state(), number), about)
        if end is None:
            return None
        tell(workspace, end.record, end.at)
        return end.record  # type: ignore[return-value]  # `_end_of` gives no other


def _follow(workspace: Workspace, rollout: Rollout, clock: Callable[[], datetime]) -> Entry | None:
    number = rollout.started.number
    while workspace.state().rollouts[number].is_open:
        if clock() > rollout.started.deadline + GRACE:
            raise StillOnTrial(f"Rollout {number} of `{workspace.use_case.slug}` is past its deadline and still open.")
        try:
            guard(workspace, clock())
        except PerennialError as error:
            get_run_logger().error(str(error))
        time.sleep(EVERY)
    return next((one for one in workspace.journal.entries() if _is_end(one, number)), None)


def _is_end(entry: Entry, number: int) -> bool:
    match entry.record:
        case Released(rollout=found) | RolloutEnded(number=found):
            return found == number
    return False


if __name__ == "__main__":
    main(roll_out)
