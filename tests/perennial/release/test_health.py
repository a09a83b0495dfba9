"""Whether a release is in good health: shown trouble of its own is FAIL, too little data neither good nor bad."""

import re
from typing import Any

import pytest

from perennial.records import Answer, Verdict
from perennial.release.health import Pulse, decide_health
from perennial.release.reports import Counts
from perennial.serving_spec import Health

WELL = Counts(answers=500, errors=2, slow=10)
ILL = Counts(answers=100, errors=40)
SLOW = Counts(answers=100, slow=60)


def decide(has_served: bool = False, **changes: Any) -> Verdict:
    known: dict[str, Any] = {"replicas": 2, "serving": 2, "refused": {}, "silent": 0, "counts": WELL}
    looks = {"looks_with_errors": 3, "looks_with_slow": 3, "looks_refused": 3}
    pulse = Pulse(**{**known, **looks, **changes})
    return decide_health(pulse, Health(), 0.05, has_served=has_served)


def test_enough_answers_within_the_limits_are_good_health() -> None:
    assert decide().answer is Answer.PASS
    assert decide(counts=Counts(answers=50)).answer is Answer.PASS
    assert decide(counts=Counts(answers=100, errors=1, slow=5)).answer is Answer.PASS


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"replicas": 0, "serving": 0}, "No replica has reported"),
        ({"serving": 0}, "None of 2 replicas answers by it yet"),
        ({"serving": 0, "waiting": {"a": "StoreAway: no answer"}}, "answers by it yet: StoreAway: no answer"),
        ({"serving": 0, "refused": {"a": "x", "b": "x"}, "looks_refused": 2}, "None of 2 replicas takes it on: x"),
        ({"counts": Counts(answers=49)}, "It gave 49 answers, 50 say something"),
        ({"counts": Counts(answers=49, errors=49)}, "It gave 49 answers, 50 say something"),
        ({"counts": Counts(answers=100, errors=2)}, "2 of 100 answers failed.*may be chance"),
        ({"counts": Counts(answers=100, slow=6)}, "6 of 100 answers were slow.*may be chance"),
        ({"counts": ILL, "looks_with_errors": 2}, "40 of 100 answers failed.*may be chance"),
        ({"counts": SLOW, "looks_with_slow": 2}, "60 of 100 answers were slow.*may be chance"),
    ],
)
def test_what_is_not_shown_is_neither_good_nor_bad(changes: dict[str, Any], reason: str) -> None:
    verdict = decide(**changes)
    assert verdict.answer is Answer.INCONCLUSIVE
    assert re.search(reason, verdict.reasons[0]), verdict.reasons


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"counts": ILL}, "40 of 100 answers failed"),
        ({"counts": SLOW}, "60 of 100 answers were slow"),
        ({"refused": {"a": "damaged", "b": "damaged"}, "serving": 0}, "None of 2 replicas takes it on: damaged"),
        ({"silent": 3}, "3 times replicas fell silent"),
    ],
)
def test_shown_trouble_fails(changes: dict[str, Any], reason: str) -> None:
    verdict = decide(**changes)
    assert verdict.answer is Answer.FAIL and verdict.reasons[0].startswith(reason)


def test_one_replica_that_refuses_is_no_failure() -> None:
    assert decide(refused={"a": "damaged"}, serving=1).answer is Answer.PASS


def test_late_trouble_shows_in_a_window_that_a_long_good_past_would_hide() -> None:
    long = Counts(answers=1_000_000, errors=40)
    assert decide(has_served=True, counts=long).answer is Answer.PASS
    verdict = decide(has_served=True, counts=long, windows=[Counts(answers=100, errors=40)])
    assert verdict.answer is Answer.FAIL and verdict.numbers["errors"] == 0.4


def test_a_window_needs_more_evidence_than_the_counts_since_the_release() -> None:
    modest = Counts(answers=100, errors=8)
    assert decide(counts=modest).answer is Answer.FAIL
    assert decide(has_served=True, windows=[modest]).answer is Answer.PASS


def test_a_window_of_few_answers_says_nothing() -> None:
    assert decide(has_served=True, windows=[Counts(answers=49, errors=49)]).answer is Answer.PASS


def test_silence_counts_only_before_it_has_served() -> None:
    assert decide(has_served=True, silent=9).answer is Answer.PASS
    assert decide(silent=2).answer is Answer.PASS
