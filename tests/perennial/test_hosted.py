"""What a journal amounts to about images: what runs, what is on its way, and what was refused for what it did."""

from datetime import UTC, datetime

from perennial.hosted import HostingAdvanced, HostingEnded, HostingStarted, hostings
from perennial.records import Entry, Record
from perennial.values import Answer, Verdict

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def started(number: int, image: str, *steps: float, **variables: str) -> HostingStarted:
    return HostingStarted(number=number, image=image, variables=variables, steps=steps, deadline=NOW)


def said(answer: Answer, **numbers: float) -> Verdict:
    return Verdict(answer=answer, reasons=("because",), numbers=dict(numbers))


def entries(*records: Record) -> list[Entry]:
    return [Entry(seq=n, previous="", at=NOW, record=one) for n, one in enumerate(records, 1)]


FIRST = (started(1, "a"), HostingEnded(number=1, verdict=said(Answer.PASS)))


def test_before_the_first_nothing_runs() -> None:
    found = hostings([])
    assert (found.current, found.trial, found.newest) == (None, None, 0)


def test_what_passed_runs_until_another_passed() -> None:
    found = hostings(entries(*FIRST, started(2, "b", 0.5)))
    assert found.current and found.trial
    assert (found.current.image, found.trial.started.image, found.trial.share) == ("a", "b", 0.5)
    after = hostings(entries(*FIRST, started(2, "b"), HostingEnded(number=2, verdict=said(Answer.PASS))))
    assert after.current and after.current.image == "b" and after.trial is None


def test_a_step_is_a_share_and_after_the_last_it_is_everywhere() -> None:
    first = HostingAdvanced(number=2, step=1, verdict=said(Answer.PASS, answers=70))
    found = hostings(entries(*FIRST, started(2, "b", 0.1, 0.5), first)).trial
    assert found and (found.share, found.answers_before(1)) == (0.5, 70)
    last = HostingAdvanced(number=2, step=2, verdict=said(Answer.PASS))
    found = hostings(entries(*FIRST, started(2, "b", 0.1, 0.5), first, last)).trial
    assert found and found.share is None


def test_a_newer_one_takes_the_place_of_one_on_its_way() -> None:
    found = hostings(entries(*FIRST, started(2, "b", 0.5), started(3, "c", 0.5)))
    assert found.trial and found.trial.started.number == found.newest == 3


def test_only_what_failed_is_refused_and_only_as_it_was() -> None:
    failed = hostings(entries(*FIRST, started(2, "b", A="1"), HostingEnded(number=2, verdict=said(Answer.FAIL))))
    assert failed.refusal("b", {"A": "1"}) is not None
    assert failed.refusal("b", {"A": "2"}) is None
    late = hostings(entries(*FIRST, started(2, "b"), HostingEnded(number=2, verdict=said(Answer.INCONCLUSIVE))))
    assert late.refusal("b", {}) is None
    assert late.current and late.current.image == "a"
