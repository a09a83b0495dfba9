"""Roll back: withdraw the version that serves, and let the last good one serve again."""

from datetime import datetime

from prefect import flow

from flows.entry import main
from flows.occasion import occasion
from flows.policy import POLICY
from perennial.records import Released
from tasks.artifacts import publish_markdown, release_report
from tasks.deployment import withdraw_release
from tasks.events import tell
from tasks.registration import project_aliases
from tasks.rollout import correct_predictions, show_corrections


@flow(**POLICY, description="Withdraw the version that serves, and let the last good one serve again.")
def rollback(use_case: str, reason: str, as_of: datetime | None = None) -> Released:
    """Withdraw the champion.

    1. Find the last earlier version that passed the gate, served well, still loads and was not withdrawn itself.
    2. Record its release, which prediction follows from then on, and move the registry's aliases.
    3. Score again what the withdrawn one wrote, beside the old rows.
    """
    with occasion(use_case, None, as_of) as this:
        released = withdraw_release(this.workspace, reason, this.as_of)
        project_aliases(this.workspace)
        publish_markdown(use_case, "release", release_report(released), f"Version {released.version} serves again")
        tell(this.workspace, released, this.as_of)
        show_corrections(this.workspace, correct_predictions(this.workspace, this.as_of), this.as_of)
        return released


if __name__ == "__main__":
    main(rollback)
