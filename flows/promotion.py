"""Promote: take a model over from another environment, judge it on this one's data, and let it serve."""

from datetime import datetime

from prefect import flow

from blocks.documents import neighbour_settings
from flows.approval import ask_person
from flows.deployment import serve
from flows.entry import main
from flows.occasion import Occasion, occasion
from flows.policy import POLICY
from flows.registration import show_verdict
from perennial.records import Answer, Answered, Judged, Promoted, Released, RolloutStarted
from perennial.workspace import Workspace
from tasks.artifacts import promotion_report, publish_journal, publish_markdown
from tasks.events import tell
from tasks.promotion import receive_model
from tasks.registration import judge_challenger, project_aliases, register_model


@flow(**POLICY, description="Take a model over from another environment, judge it here, and let it serve.")
def promote(
    use_case: str, source: str, version: int | None = None, as_of: datetime | None = None
) -> Released | RolloutStarted | Judged | Answered:
    """Promote a version, by default the champion of the source, to the environment that this runs in.

    1. Copy it with its evidence, every file by its digest.
    2. Register it here, and let the gate judge it on the data of this environment.
    3. Wait for a person where the environment asks one; no answer in time is a no.
    4. Let it serve, or begin its trial.

    Returns:
        The release or the trial; the verdict if the gate did not pass it, or the answer if the person said no.
    """
    with occasion(use_case, None, as_of) as this:
        promoted = receive_model(this.workspace, _source(this, source), version, this.as_of)
        champion = this.workspace.state().champion
        if champion and champion.model == promoted.model:
            return champion
        judged = _judge(this, promoted)
        if judged.verdict.answer is not Answer.PASS:
            return judged
        answer = ask_person(this, promoted, judged, is_past=as_of is not None)
        if answer is not None and not answer.record.approved:
            return answer.record
        if answer is None:
            return serve(this.workspace, judged, this.as_of)
        released = serve(this.workspace, judged, answer.at)
        publish_journal(this.workspace, answer.at)
        return released


def _source(this: Occasion, name: str) -> Workspace:
    return Workspace(this.workspace.use_case, neighbour_settings(name))


def _judge(this: Occasion, promoted: Promoted) -> Judged:
    registered = register_model(this.workspace, promoted.trained, this.as_of)
    judged = judge_challenger(this.workspace, promoted.trained, this.as_of)
    project_aliases(this.workspace)
    tell(this.workspace, promoted, this.as_of)
    publish_markdown(this.slug, "promotion", promotion_report(promoted, judged), f"Promoted version {judged.version}")
    show_verdict(this, registered, judged)
    return judged


if __name__ == "__main__":
    main(promote)
