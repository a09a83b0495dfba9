"""Asking a person whether a promoted model may serve: in the Prefect UI, or by `perennial approve` and `reject`."""

from dataclasses import dataclass
from datetime import datetime

from prefect import pause_flow_run
from prefect.exceptions import FlowPauseTimeout
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import Field

from flows.entry import now
from flows.occasion import Occasion
from perennial.records import Answered, Judged, Promoted
from perennial.release.releases import approval_of
from tasks.artifacts import approval_request
from tasks.events import announce
from tasks.news import question_of
from tasks.promotion import answer_heard_by_nobody, record_answer

_POLLING = 5


class Approval(RunInput):
    """What the person fills in."""

    approve: bool = Field(description="Whether it may serve.")
    who: str = Field(min_length=1, description="Your name.")
    reason: str = Field(min_length=1, description="Why, for those who ask later.")


@dataclass(frozen=True)
class Reply:
    """An answer, and the moment from which it holds."""

    record: Answered
    at: datetime


def ask_person(this: Occasion, promoted: Promoted, judged: Judged, is_past: bool) -> Reply | None:
    """Pause the run until somebody answers, and write the answer down; `None` where nobody is asked.

    A yes that is in the journal counts for a repeated run. A run as of a moment that was given, `is_past`, decides
    for that moment; any other for the one in which it is answered.
    """
    settings = this.workspace.settings
    if settings.approval != "person":
        return None
    known = approval_of(judged, this.workspace.state())
    if known and known.approved:
        return Reply(known, this.as_of if is_past else now())
    announce(this.workspace, *question_of(judged, promoted, str(flow_run.id)))
    answer = _wait(approval_request(promoted, judged, settings, this.slug), settings.approval_timeout.total_seconds())
    record = Answered(
        model=judged.model,
        version=judged.version,
        against_version=judged.against_version,
        approved=answer.approve,
        who=answer.who,
        reason=answer.reason,
        run=str(flow_run.id),
    )
    at = this.as_of if is_past else now()
    return Reply(record_answer(this.workspace, record, at), at)


def _wait(question: str, seconds: float) -> Approval:
    asked = Approval.with_initial_data(description=question)
    attempt = str(flow_run.run_count)  # a run that crashed while it waited asks anew, unless it was answered
    if given := answer_heard_by_nobody(question):
        return Approval(**given)
    try:
        answer: Approval = pause_flow_run(asked, timeout=int(seconds), poll_interval=_POLLING, key=attempt)
    except FlowPauseTimeout:
        return Approval(approve=False, who="nobody", reason=f"Nobody answered within {seconds:g} seconds.")
    return answer
