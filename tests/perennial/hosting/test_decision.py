"""What becomes of newer code: never by its pods alone while it has a share, never by answers alone."""

from datetime import UTC, datetime, timedelta

import pytest

from perennial.hosted import Hosting, HostingStarted
from perennial.hosting.condition import Condition
from perennial.hosting.decision import decide_hosting, gather
from perennial.release.reports import Counts, Report
from perennial.serving_spec import Serving
from perennial.values import Answer, Verdict

NOW = datetime(2026, 1, 1, tzinfo=UTC)
READY = Condition(Answer.PASS, "All 1 replicas are ready.", 1, 1)
WAITS = Condition(Answer.INCONCLUSIVE, "0 of 1 replicas are ready.", 0, 1)
BROKEN = Condition(Answer.FAIL, "It crashes again and again.", 0, 1)
GOOD, BAD = Counts(answers=1000, errors=0), Counts(answers=1000, errors=300)


def hosting(*steps: float, step: int = 0) -> Hosting:
    started = HostingStarted(number=2, image="i", variables={}, steps=steps, deadline=NOW + timedelta(hours=1))
    return Hosting(started, NOW - timedelta(minutes=5), step)


def report(name: str, counts: Counts, *, age: float = 0, release: int | None = 1) -> Report:
    at = NOW - timedelta(seconds=age)
    started = NOW - timedelta(minutes=4)
    known = {"release/1": counts}
    return Report(replica=name, address=f"{name}:8080/1", started_at=started, at=at, release=release, counts=known)


def decided(
    found: Condition, *reports: Report, of: Hosting | None = None, now: datetime = NOW, release: int = 1
) -> Verdict:
    trial = of or hosting(0.25, 0.5)
    return decide_hosting(trial, found, gather(trial, "shop", reports, release, NOW), Serving(), now)


CANARY, STABLE = "shop-canary-1-a", "shop-1-a"


@pytest.mark.parametrize(
    ("found", "canary", "answer"),
    [
        (READY, GOOD, Answer.PASS),
        (READY, BAD, Answer.FAIL),
        (WAITS, GOOD, Answer.INCONCLUSIVE),
        (BROKEN, GOOD, Answer.FAIL),
        (READY, Counts(), Answer.INCONCLUSIVE),
    ],
)
def test_pods_and_answers_both_count(found: Condition, canary: Counts, answer: Answer) -> None:
    assert decided(found, report(CANARY, canary), report(STABLE, GOOD)).answer is answer


def test_what_fails_in_both_is_not_the_codes_fault() -> None:
    assert decided(READY, report(CANARY, BAD), report(STABLE, BAD)).answer is not Answer.FAIL


def test_without_a_fresh_report_nothing_passes() -> None:
    assert decided(READY, report(CANARY, GOOD, age=60), report(STABLE, GOOD)).answer is Answer.INCONCLUSIVE


def test_a_canary_that_has_not_loaded_the_release_does_not_pass() -> None:
    assert decided(READY, report(CANARY, GOOD, release=None), report(STABLE, GOOD)).answer is Answer.INCONCLUSIVE


def test_reports_of_an_earlier_canary_are_not_its_own() -> None:
    earlier = report(CANARY, BAD).model_copy(update={"started_at": NOW - timedelta(days=1)})
    assert decided(READY, earlier, report("shop-canary-2-b", GOOD), report(STABLE, GOOD)).answer is Answer.PASS


def test_everywhere_only_the_pods_are_asked() -> None:
    everywhere = hosting(0.25, step=1)
    assert decided(READY, of=everywhere).answer is Answer.PASS
    assert decided(WAITS, of=everywhere).answer is Answer.INCONCLUSIVE


def test_what_is_not_ready_by_the_deadline_is_not_shown_to_be_worse() -> None:
    found = decided(WAITS, now=NOW + timedelta(hours=1))
    assert found.answer is Answer.INCONCLUSIVE
    assert "deadline" in found.reasons[0]
    assert decided(BROKEN, now=NOW + timedelta(hours=1)).answer is Answer.FAIL


def test_a_step_asks_for_answers_of_its_own() -> None:
    one = hosting(0.25, 0.5, step=1)
    one.verdict = Verdict(answer=Answer.PASS, reasons=("so far",), numbers={"answers": 900.0})
    assert decided(READY, report(CANARY, GOOD), report(STABLE, GOOD), of=one).answer is Answer.INCONCLUSIVE


def test_a_release_that_comes_during_a_trial_is_counted_from_its_own_beginning() -> None:
    one = hosting(0.25, 0.5, step=1)
    numbers: dict[str, float | None] = {"answers": 900.0, "release": 1.0}
    one.verdict = Verdict(answer=Answer.PASS, reasons=("so far",), numbers=numbers)
    newer = [report(name, GOOD, release=2) for name in (CANARY, STABLE)]
    newer = [one.model_copy(update={"counts": {"release/1": GOOD, "release/2": GOOD}}) for one in newer]
    assert decided(READY, *newer, of=one, release=2).answer is Answer.PASS
    assert decided(READY, report(CANARY, GOOD), report(STABLE, GOOD), of=one).answer is Answer.INCONCLUSIVE


@pytest.mark.parametrize("length", [4, 50, 51, 53])
def test_a_canary_is_known_however_much_of_its_name_a_cluster_cuts_off(length: int) -> None:
    slug = "s" * length
    pods = {f"{slug}-{track}7d9fc5b8b4-"[:58] + "x2x9z": track for track in ("", "canary-")}
    found = gather(hosting(0.25), slug, [report(name, GOOD) for name in pods], 1, NOW)
    assert (found.replicas, found.challenger.answers, found.other.answers) == (1, 1000, 1000)
