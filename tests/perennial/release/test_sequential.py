"""Evidence that may be looked at at any time: seldom large when the claim is true, soon large when it is not."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.release.sequential import mean_above, mean_above_by_sums, rate_above, rate_above_other

ALPHA = 0.1
RUNS, LENGTH = 200, 400
TOO_MANY = 0.16
"""Share of false alarms among 200 runs that chance exceeds once in 200 when the true share is 0.1."""


def share_of_alarms(evidence: np.ndarray) -> float:
    """Return the share of runs, shape (runs, looks), in which any look gave an alarm."""
    return float((evidence >= log(1 / ALPHA)).any(axis=1).mean())


@pytest.mark.parametrize("rate", [0.005, 0.05, 0.5])
def test_looking_after_every_answer_seldom_alarms_when_the_rate_is_at_its_limit(rate: float) -> None:
    drawn = np.random.default_rng(1).random((RUNS, LENGTH)) < rate
    counts = drawn.cumsum(axis=1)
    found = np.array([[rate_above(int(x), n, rate) for n, x in enumerate(run, 1)] for run in counts])
    assert share_of_alarms(found) <= TOO_MANY


@pytest.mark.parametrize(("rate", "uneven"), [(0.02, 1), (0.3, 1), (0.3, 5)])
def test_two_equal_rates_seldom_alarm_also_under_uneven_traffic(rate: float, uneven: int) -> None:
    random = np.random.default_rng(2)
    ours = (random.random((RUNS, LENGTH)) < rate).cumsum(axis=1)
    theirs = (random.random((RUNS, LENGTH, uneven)) < rate).sum(axis=2).cumsum(axis=1)
    found = np.array(
        [
            [rate_above_other(int(x), n, int(y), n * uneven) for n, (x, y) in enumerate(zip(*run, strict=True), 1)]
            for run in zip(ours, theirs, strict=True)
        ]
    )
    assert share_of_alarms(found) <= TOO_MANY


@pytest.mark.parametrize("spread", [0.05, 1.0])
def test_a_mean_at_its_limit_seldom_alarms(spread: float) -> None:
    random = np.random.default_rng(3)
    values = random.choice([-1.0, 1.0], (RUNS, LENGTH)) * spread
    found = np.array([[mean_above(run[:n], 0.0) for n in range(1, LENGTH, 5)] for run in values])
    assert share_of_alarms(found) <= TOO_MANY


def test_a_mean_of_unbounded_values_at_its_limit_seldom_alarms() -> None:
    values = np.random.default_rng(4).exponential(0.2, (RUNS, LENGTH))
    sums, squares = values.cumsum(axis=1), (values**2).cumsum(axis=1)
    found = np.array(
        [
            [mean_above_by_sums(n + 1, s[n], q[n], 0.2) for n in range(LENGTH)]
            for s, q in zip(sums, squares, strict=True)
        ]
    )
    assert share_of_alarms(found) <= TOO_MANY


def test_what_is_clearly_worse_soon_shows() -> None:
    assert rate_above(20, 60, 0.01) > log(1e6)
    assert rate_above_other(50, 200, 4, 200) > log(1e4)
    assert mean_above(np.full(100, 0.2), 0.01) > log(1e4)
    assert mean_above_by_sums(200, 200 * 0.3, 200 * 0.1, 0.05) > log(1e4)


def test_what_is_better_never_shows() -> None:
    assert rate_above(0, 1000, 0.01) < 0
    assert rate_above_other(0, 500, 100, 500) < 0
    assert mean_above(np.full(500, -0.1), 0.0) < 0
    assert mean_above_by_sums(500, 5.0, 1.0, 0.1) < 0


def test_nothing_is_no_evidence() -> None:
    assert rate_above(0, 0, 0.01) == pytest.approx(0)
    assert rate_above_other(0, 0, 0, 0) == pytest.approx(0)
    assert mean_above(np.empty(0), 0.0) == mean_above_by_sums(0, 0.0, 0.0, 0.1) == 0


def test_a_limit_of_nothing_is_broken_by_one_event() -> None:
    assert rate_above(1, 50, 0.0) == float("inf")
    assert rate_above(0, 50, 0.0) <= 0


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_the_order_of_rows_makes_no_difference(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert mean_above(np.array(shuffled), 0.05) == pytest.approx(mean_above(np.array(values), 0.05))


@given(st.integers(1, 300), st.floats(0, 1), st.integers(1, 300), st.floats(0, 1))
def test_a_rate_that_is_no_higher_gives_no_evidence_at_all(n: int, part: float, m: int, other: float) -> None:
    x, y = int(part * n), int(other * m)
    ours, theirs = (x, n), (y, m)
    lower, higher = (ours, theirs) if x / n <= y / m else (theirs, ours)
    assert rate_above_other(*lower, *higher) <= 1e-9
    assert rate_above(x, n, max(x / n, part)) <= 1e-9


@given(st.lists(st.floats(0, 5), min_size=1, max_size=60), st.floats(0.01, 2))
def test_sums_never_say_more_than_the_values_themselves(values: list[float], limit: float) -> None:
    found = np.array(values)
    bets = np.geomspace(0.01, 0.95, 16) * 0.68 / limit
    exact = np.log(np.exp(np.log1p(np.outer(bets, found - limit)).sum(axis=1)).mean())
    assert mean_above_by_sums(len(found), float(found.sum()), float((found**2).sum()), limit) <= exact + 1e-9
