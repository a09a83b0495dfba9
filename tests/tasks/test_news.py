"""What of the service's records is told as an event."""

from perennial.records import Answer, RetrainingEnded
from perennial.retraining import Outcome
from tasks.news import news_of
from tests.perennial.watch.test_reconciliation import refused
from tests.perennial.watch.test_service_findings import COLLECTED, FAILED, LOST, NOON, audited


def test_a_failed_audit_and_lost_answers_are_told_as_findings() -> None:
    [skew] = news_of(FAILED, NOON)
    assert (skew.event, skew.about, skew.payload["category"]) == ("audit.failed", "online.1", "training-serving-skew")
    assert {"summary", "detail", "resolution", "level"} <= skew.payload.keys()
    [lost] = news_of(LOST, NOON)
    assert (lost.event, lost.about, lost.payload["rows"]) == ("answers.lost", "online.2", 2)
    assert news_of(COLLECTED, NOON) == news_of(audited(Answer.PASS), NOON) == []


def test_a_delivery_refused_by_another_contract_is_news_of_its_own() -> None:
    under_one = refused("orders")
    [first], [second] = (
        news_of(one, NOON) for one in (under_one, under_one.model_copy(update={"contract": "another"}))
    )
    assert (first.event, first.payload["source"], first.payload["period"]) == ("delivery.refused", "orders", "2024-05")
    assert first.payload["reason"] == under_one.summary
    assert first.about != second.about


def test_only_a_retraining_that_was_given_up_is_told() -> None:
    ended = RetrainingEnded(request=3, claim=5, outcome=Outcome.ABANDONED, reason="Five runs ended in vain.")
    [told] = news_of(ended, NOON)
    assert (told.event, told.about, told.payload["reason"]) == ("retraining.abandoned", "3/5", ended.reason)
    assert news_of(ended.model_copy(update={"outcome": Outcome.RELEASED}), NOON) == []
