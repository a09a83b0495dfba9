"""What of the service's records is told as an event."""

from perennial.records import Answer
from tasks.news import news_of
from tests.perennial.watch.test_service_findings import COLLECTED, FAILED, LOST, NOON, audited


def test_a_failed_audit_and_lost_answers_are_told_as_findings() -> None:
    [skew] = news_of(FAILED, NOON)
    assert (skew.event, skew.about, skew.payload["category"]) == ("audit.failed", "online.1", "training-serving-skew")
    assert {"summary", "detail", "resolution", "level"} <= skew.payload.keys()
    [lost] = news_of(LOST, NOON)
    assert (lost.event, lost.about, lost.payload["rows"]) == ("answers.lost", "online.2", 2)
    assert news_of(COLLECTED, NOON) == news_of(audited(Answer.PASS), NOON) == []
