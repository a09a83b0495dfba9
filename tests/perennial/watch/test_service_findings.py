from datetime import UTC, datetime

from perennial.records import Answer, AnswersAudited, AnswersCollected, Level, Verdict
from perennial.watch.service_findings import Category, service_finding

NOON = datetime(2024, 5, 20, 12, tzinfo=UTC)
COLLECTED = AnswersCollected(batch="online.1", segments={"a": ((1, 1),)}, rows=3, versions={1: 3}, table_version=1)
LOST = AnswersCollected(batch="online.2", segments={}, rows=0, versions={}, lost={"a": 2, "b": 0}, table_version=1)


def audited(answer: Answer, **numbers: float) -> AnswersAudited:
    verdict = Verdict(answer=answer, reasons=("`price` differs in 3 of 9 answers.",), numbers=numbers)
    return AnswersAudited(batches=("online.1",), rows=9, verdict=verdict)


FAILED = audited(Answer.FAIL, rows=9, **{"differs:price": 3, "differs:age": 1})


def test_only_an_audit_that_found_a_difference_is_an_alert() -> None:
    for answer in (Answer.PASS, Answer.INCONCLUSIVE):
        assert service_finding(audited(answer)) is None
    found = service_finding(FAILED)
    assert found is not None
    assert (found.level, found.category, found.subject) == (Level.ALERT, Category.SKEW, "age, price")
    assert "3 of 9" in found.detail


def test_only_lost_answers_are_told_and_with_whom() -> None:
    assert service_finding(COLLECTED) is None
    assert service_finding(LOST.model_copy(update={"lost": {"a": 0}})) is None
    found = service_finding(LOST)
    assert found is not None
    assert (found.category, found.subject) == (Category.ANSWERS_LOST, "a")
    assert "2 answers were given and are not in `predictions`" in found.summary
