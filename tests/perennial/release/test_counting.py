"""Counts of replicas: sums over all that ever counted, and passes rather than rows where rows share a fate."""

from datetime import UTC, datetime

from perennial.release.counting import added, counted, independent, total
from perennial.release.reports import BUCKETS_MS, Counts, Report

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def report(replica: str, ended: bool = False, **counts: Counts) -> Report:
    named = {name.replace("_", "/"): one for name, one in counts.items()}
    return Report(replica=replica, address="", started_at=NOON, at=NOON, ended=ended, counts=named)


def test_an_arm_is_summed_over_all_replicas_also_those_that_ended() -> None:
    latency = (1, *[0] * len(BUCKETS_MS))
    one = Counts(answers=3, errors=1, slow=2, latency=latency, compared=2, difference=0.5, squared_difference=0.25)
    reports = [report("a", rollout_1=one), report("b", ended=True, rollout_1=one), report("c", rollout_2=one)]
    found = counted(reports, "rollout/1")
    assert (found.answers, found.errors, found.slow, found.compared) == (6, 2, 4, 4)
    assert (found.difference, found.squared_difference, found.latency[0]) == (1.0, 0.5, 2)
    assert counted(reports, "rollout/3") == total([]) == Counts()


def test_the_earliest_beginning_is_kept() -> None:
    assert total([Counts(), Counts(since=NOON)]).since == NOON


def test_what_was_added_is_never_less_than_nothing() -> None:
    found = added(Counts(answers=5, errors=1), Counts(answers=3, errors=2))
    assert (found.answers, found.errors) == (2, 0)


def test_rows_that_share_a_fate_count_by_their_passes() -> None:
    assert independent(Counts(answers=100, errors=40, slow=20)).errors == 40
    by_twenty = independent(Counts(answers=100, errors=40, slow=20, together=5 * 400))
    assert (by_twenty.answers, by_twenty.errors, by_twenty.slow) == (5, 2, 1)
    assert independent(Counts(answers=100, errors=4, together=100)).answers == 100
