"""Token buckets by the clock that they are given."""

import pytest

from serving import limits
from serving.limits import RateLimit
from serving.problems import Refused


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(limit: RateLimit, caller: str, times: int) -> int:
    """Count how many of some requests at one moment pass."""
    passed = 0
    for _ in range(times):
        try:
            limit.take(caller)
            passed += 1
        except Refused as refused:
            assert refused.status == 429
    return passed


def test_a_second_holds_as_many_requests_as_the_rate_and_each_caller_has_an_own_bucket() -> None:
    limit = RateLimit(5, clock := Clock())
    assert taken(limit, "a", 20) == 5
    assert taken(limit, "b", 20) == 5
    clock.now = 0.4
    assert taken(limit, "a", 20) == 2
    clock.now = 1000
    assert taken(limit, "a", 20) == 5


def test_refused_requests_do_not_put_off_the_next_one() -> None:
    limit = RateLimit(1, clock := Clock())
    assert taken(limit, "a", 100) == 1
    clock.now = 1.0
    assert taken(limit, "a", 1) == 1


def test_without_a_rate_there_is_no_limit() -> None:
    assert taken(RateLimit(0), "a", 1000) == 1000


def test_a_rate_below_one_lets_the_first_pass() -> None:
    limit = RateLimit(0.1, clock := Clock())
    assert taken(limit, "a", 5) == 1
    clock.now = 10.0
    assert taken(limit, "a", 5) == 1


def test_callers_without_number_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CALLERS", 10)
    limit = RateLimit(1, Clock())
    assert sum(taken(limit, str(number), 1) for number in range(100)) == 100
    assert len(limit._buckets) == 10
