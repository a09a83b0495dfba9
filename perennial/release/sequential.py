"""Evidence that may be looked at as often as one likes: the wealth of a bet against a claim, as a natural logarithm.

If the claim is true, the chance that the wealth *ever* reaches 1/alpha is at most alpha (Ville 1939), however often
one looks and whenever one stops. Every bet below is fixed before the first observation and mixed over a prior, so the
wealth depends on counts and sums alone: not on the order of the rows (labels come late, replicas are summed up), nor
on what somebody remembers of earlier looks. It decides nothing.
"""

from math import inf, lgamma, log

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
_A, _B = 0.5, 5.0
"""Beta prior of a rate: Jeffreys' for rare events, and little weight on rates near 1, which show at once anyway."""
_BETS = np.geomspace(0.01, 0.95, 16)
"""Shares of the largest admissible bet."""
_SAFE = 0.68
"""`log(1 + x) >= x - x**2` for all x from minus this on."""
_AT_ONCE = 8
"""Factors of one product, which no gain below 1e38 makes overflow."""
_CACHED = 64
"""Products of each bet at a time: few enough for the cache of a processor, however many labels there are."""


def rate_above(events: float, trials: float, limit: float) -> float:
    """Return the evidence against "the rate is at most `limit`".

    A mixture over rates, divided by the best that the claim can say of the counts (universal inference, Wasserman,
    Ramdas and Balakrishnan 2020, section 7).
    """
    rate = min(events / trials, limit) if trials else limit
    return _mixed(events, trials) - _likelihood(events, trials, rate)


def rate_above_other(events: float, trials: float, other_events: float, other_trials: float) -> float:
    """Return the evidence against "the rate is at most that of the other", whatever that one is.

    It conditions on how many trials each had, so that a split of the traffic that is not even raises no alarm.
    """
    rate, other = (x / n if n else 0.0 for x, n in ((events, trials), (other_events, other_trials)))
    if rate > other:
        rate = other = (events + other_events) / (trials + other_trials)
    claim = _likelihood(events, trials, rate) + _likelihood(other_events, other_trials, other)
    return _mixed(events, trials) + _mixed(other_events, other_trials) - claim


def mean_above(values: Vector, limit: float, least: float = -1.0) -> float:
    """Return the evidence against "the mean is at most `limit`", for values that are never below `least`.

    Bets of fixed sizes on each value (Waudby-Smith and Ramdas 2023, section 4), mixed evenly.
    """
    if not len(values) or limit <= least:
        return 0.0
    return _mean_of_wealth(_wealth_of(_BETS / (limit - least), values - limit))


def mean_above_by_sums(count: int, total: float, squares: float, limit: float) -> float:
    """Return the evidence against "the mean is at most `limit`" from sums of values that are never negative.

    The product of bets is bounded from below by what their sums allow, so this says less than `mean_above`, and the
    bound of its errors holds just as well, also for values without any upper bound.
    """
    if not count or limit <= 0:
        return 0.0
    bets = _BETS * _SAFE / limit
    centred = squares - 2 * limit * total + count * limit**2
    return _mean_of_wealth(bets * (total - count * limit) - bets**2 * centred)


def _mixed(events: float, trials: float) -> float:
    prior = lgamma(_A) + lgamma(_B) - lgamma(_A + _B)
    return lgamma(events + _A) + lgamma(trials - events + _B) - lgamma(trials + _A + _B) - prior


def _likelihood(events: float, trials: float, rate: float) -> float:
    if events and not rate:
        return -inf
    hits = events * log(rate) if events else 0.0
    misses = (trials - events) * log(1 - rate) if trials > events else 0.0
    return hits + misses


def _wealth_of(bets: Vector, gains: Vector) -> Vector:
    """Return the sum of log(1 + bet * gain) over all gains for each bet: one logarithm for the product of a few."""
    rows = np.zeros((_AT_ONCE, -(-len(gains) // _AT_ONCE)))
    rows.flat[: len(gains)] = gains
    found = np.zeros(len(bets))
    for start in range(0, rows.shape[1], _CACHED):
        factors = np.multiply.outer(bets, rows[:, start : start + _CACHED]) + 1
        found += np.log(np.multiply.reduce(factors, axis=1)).sum(axis=1)
    return found


def _mean_of_wealth(logs: Vector) -> float:
    return float(np.logaddexp.reduce(logs)) - log(len(logs))
