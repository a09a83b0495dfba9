"""What the journal of the online service tells that somebody should look at: pure, from a record to a finding."""

from enum import StrEnum

from perennial.records import Answer, AnswersAudited, AnswersCollected, Finding, Level, Record


class Category(StrEnum):
    """Categories of findings about the service. The values are a stable contract: automations match on them."""

    SKEW = "training-serving-skew"
    """Features or scores of logged requests, computed again offline, are others than those that were given."""
    ANSWERS_LOST = "answers-lost"
    """A replica ended without a farewell, and answers that it had given are not in `predictions`."""


def service_finding(record: Record) -> Finding | None:
    """Return what a record asks somebody to look at; nothing for most."""
    match record:
        case AnswersAudited() if record.verdict.answer is Answer.FAIL:
            return _skew(record)
        case AnswersCollected() if sum(record.lost.values()):
            return _lost(record)
        case _:
            return None


def _skew(record: AnswersAudited) -> Finding:
    differing = [name.removeprefix("differs:") for name in record.verdict.numbers if name.startswith("differs:")]
    return Finding(
        level=Level.ALERT,
        category=Category.SKEW,
        summary=f"Online answers are others than training computes: {', '.join(sorted(differing))}.",
        detail=" ".join(record.verdict.reasons),
        resolution="Look at one of the answers with `perennial explain --request-id`. Where features differ, mend the "
        "query, then train again; a rollback helps only if the release before has another query. Where the score alone "
        "does, go back to the image of the service that scored as training does.",
        subject=", ".join(sorted(differing)),
    )


def _lost(record: AnswersCollected) -> Finding:
    told = {replica: rows for replica, rows in record.lost.items() if rows}
    rows = sum(told.values())
    return Finding(
        level=Level.WARNING,
        category=Category.ANSWERS_LOST,
        summary=f"{rows:,} answers were given and are not in `predictions`: {len(told)} replicas died.",
        detail=", ".join(f"replica {replica} took {rows:,} along" for replica, rows in sorted(told.items())) + ".",
        resolution="Callers have these answers; nothing else does. Look for why the replicas died in the lines of the "
        "service (`process.died`): out of memory and a crash of the model are the usual causes.",
        subject=", ".join(sorted(told)),
    )
