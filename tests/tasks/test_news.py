"""What of the service's records is told as an event."""

import pytest

from perennial.promotions import Promoted, Station
from perennial.records import Answer, Finding, Judged, Level, Record, Refused, RetrainingEnded, Verdict
from perennial.retraining import Outcome
from tasks.news import latest_news, news_of
from tests.perennial.watch.test_policy import trained
from tests.perennial.watch.test_reconciliation import ASKED, MEASURED, written
from tests.perennial.watch.test_service_findings import COLLECTED, FAILED, LOST, NOON, audited

DRIFT = Finding(level=Level.ALERT, category="score-drift", summary="It has drifted.", detail="", resolution="")
DRIFTED = MEASURED.model_copy(update={"findings": (DRIFT,)})
AGAIN = DRIFTED.model_copy(update={"labels": 5})
GIVEN_UP = RetrainingEnded(request=3, claim=5, outcome=Outcome.ABANDONED, reason="Five runs ended in vain.")
TRAINED = trained("m", "k")
JUDGED = Judged(
    model="m", version=4, against="b", against_version=None, gate="g", verdict=Verdict(answer=Answer.PASS, reasons=())
)
STATION = Station(environment="test", storage="s", version=4, run="r", trained=TRAINED, judged=JUDGED)
PROMOTED = Promoted(model="m", stations=(STATION,), trained=TRAINED, trained_at=NOON)


def refused(source: str) -> Refused:
    told = {"period": "2024-05", "revision": 1, "digest": "d", "contract": "c", "rows": 10, "reasons": {}}
    return Refused(source=source, summary="It breaks its contract.", **told)


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
    [told] = news_of(GIVEN_UP, NOON)
    assert (told.event, told.about, told.payload["reason"]) == ("retraining.abandoned", "3/5", GIVEN_UP.reason)
    assert news_of(GIVEN_UP.model_copy(update={"outcome": Outcome.RELEASED}), NOON) == []


@pytest.mark.parametrize(
    ("records", "latest"),
    [
        ([DRIFTED, ASKED, AGAIN], [AGAIN]),
        ([DRIFTED, MEASURED], [DRIFTED]),
        ([GIVEN_UP, GIVEN_UP.model_copy(update={"outcome": Outcome.RELEASED})], [GIVEN_UP]),
        ([refused("orders"), refused("shops"), refused("orders")], [refused("shops"), refused("orders")]),
        ([FAILED, LOST, audited(Answer.PASS), COLLECTED], [FAILED, LOST]),
        ([PROMOTED, ASKED], [PROMOTED]),
    ],
)
def test_of_all_that_is_told_the_newest_of_each_kind_and_source_is_news(
    records: list[Record], latest: list[Record]
) -> None:
    assert [one.record for one in latest_news(written(*records))] == latest
