"""What is told of which record: pure, so that the flow that wrote it and whoever makes an event good say the same."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from perennial.records import (
    Accepted,
    AnswersAudited,
    AnswersCollected,
    Entry,
    Judged,
    Level,
    Measured,
    PredictionsCorrected,
    ProbationEnded,
    Promoted,
    Record,
    Refused,
    Released,
    RetrainingEnded,
    RolloutEnded,
    RolloutStarted,
    Verdict,
)
from perennial.retraining import Outcome
from perennial.watch.service_findings import service_finding


class News(NamedTuple):
    """The arguments of `tasks.events.announce` that follow from a record."""

    event: str
    about: str
    payload: dict[str, Any]


def news_of(record: Record, as_of: datetime) -> list[News]:
    """Return what automations and people are told of a record; nothing of most kinds.

    Args:
        record: As the journal has it.
        as_of: The moment it was decided for; what follows from the news is asked as of the same.
    """
    told = [(event, about, {**payload, "as_of": as_of.isoformat()}) for event, about, payload in _news(record)]
    return [News(*one) for one in told]


def latest_news(entries: Iterable[Entry]) -> list[Entry]:
    """Return the newest entry of each kind, and source, that something is told of, for those whose event was lost."""
    newest = {_of_which(entry.record): entry for entry in entries if _news(entry.record)}
    return sorted(newest.values(), key=lambda entry: entry.seq)


def question_of(judged: Judged, promoted: Promoted, run: str) -> News:
    """Return what a person is asked by a run that waits: whether a promoted version may serve."""
    told = {"version": judged.version, "source": promoted.source.environment, "run": run}
    return News("approval.requested", f"{judged.model}/{run}", told)


def _of_which(record: Record) -> tuple[str, str]:
    return record.kind, record.source if isinstance(record, Accepted | Refused) else ""


def _news(record: Record) -> list[News]:
    match record:
        case Accepted():
            told = {"source": record.source, "period": record.period, "rows": record.rows}
            about = f"{record.source}/{record.partition}"
            return [News("delivery.accepted", about, {**told, "quarantined": record.quarantined})]
        case Refused():
            told = {"source": record.source, "period": record.period, "reason": record.summary}
            about = f"{record.source}/{record.period}/{record.revision}/{record.digest}/{record.contract}"
            return [News("delivery.refused", about, told)]
        case Released():
            told = {"version": record.version, "replaces": record.replaces, "model": record.model}
            news = [News("model.released", str(record.number), {**told, "reason": record.reason})]
            if record.withdraws is None:
                return news
            taken_back = {"version": record.replaces, "release": record.withdraws, "by": record.version}
            return [News("release.withdrawn", str(record.withdraws), {**taken_back, "reason": record.reason}), *news]
        case Promoted():
            told = {"model": record.model, "source": record.source.environment, "version": record.source.version}
            return [News("promotion.received", f"{record.model}/{record.trained.labels}", told)]
        case Measured():
            return _findings(record)
        case RetrainingEnded(outcome=Outcome.ABANDONED):
            return [News("retraining.abandoned", f"{record.request}/{record.claim}", {"reason": record.reason})]
        case AnswersAudited() | AnswersCollected():
            return _of_answers(record)
        case RolloutStarted() | RolloutEnded() | ProbationEnded() | PredictionsCorrected():
            return [_of_service(record)]
        case _:
            return []


def _of_answers(record: AnswersAudited | AnswersCollected) -> list[News]:
    found = service_finding(record)
    if found is None:
        return []
    told = found.model_dump(mode="json")
    if isinstance(record, AnswersAudited):
        return [News("audit.failed", record.batches[0], {**told, "rows": record.rows})]
    return [News("answers.lost", record.batch, {**told, "rows": sum(record.lost.values())})]


def _of_service(record: RolloutStarted | RolloutEnded | ProbationEnded | PredictionsCorrected) -> News:
    match record:
        case RolloutStarted():
            told: dict[str, Any] = {"number": record.number, "rollout": record.rollout, "version": record.version}
            told |= {"against": record.against_version, "deadline": record.deadline.isoformat()}
            return News("rollout.started", str(record.number), told)
        case RolloutEnded():
            return News("rollout.ended", str(record.number), {"number": record.number, **_said(record.verdict)})
        case ProbationEnded():
            return News("probation.ended", str(record.release), {"release": record.release, **_said(record.verdict)})
        case PredictionsCorrected():
            told = {"withdrawn": record.withdrawn, "release": record.release, "version": record.version}
            return News("predictions.corrected", record.batch, {**told, "rows": record.rows, "batch": record.batch})


def _said(verdict: Verdict) -> dict[str, Any]:
    return {"answer": verdict.answer.value, "reason": verdict.reasons[0], "reasons": list(verdict.reasons)}


def _findings(measured: Measured) -> list[News]:
    return [
        News(
            _event(one.category),
            f"{measured.period}/{measured.release}/{measured.labels}/{one.category}/{one.subject}",
            {"period": measured.period, "version": measured.version, **one.model_dump(mode="json")},
        )
        for one in measured.findings
        if one.level is not Level.INFO
    ]


def _event(category: str) -> str:
    if "drift" in category:
        return "drift.detected"
    return "performance.degraded" if "performance" in category else "finding.made"
