"""Counts of several replicas as one, what was added since, and how many of them speak for themselves."""

from collections.abc import Iterable
from dataclasses import dataclass

from perennial.release.reports import BUCKETS_MS, Counts, Report

_SUMMED = ("answers", "errors", "slow", "together", "compared", "difference", "squared_difference")


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum of some counts, an empty one of none."""
    every = list(counts)
    sums = {name: sum(getattr(one, name) for one in every) for name in _SUMMED}
    buckets = zip(*(one.latency for one in every), strict=True) if every else [()] * (len(BUCKETS_MS) + 1)
    since = min((one.since for one in every if one.since), default=None)
    return Counts(latency=tuple(sum(one) for one in buckets), since=since, **sums)


def counted(reports: Iterable[Report], name: str) -> Counts:
    """Return what an arm did, over all replicas that ever counted it, also those that ended or died."""
    return total(one.counts[name] for one in reports if name in one.counts)


def added(now: Counts, before: Counts) -> Counts:
    """Return what was added since, never less than nothing: a report that is gone takes its counts with it."""
    return Counts(**{name: max(getattr(now, name) - getattr(before, name), 0) for name in _SUMMED})


@dataclass(frozen=True)
class Trials:
    """Counts as independent trials."""

    answers: float
    errors: float
    slow: float


def independent(counts: Counts) -> Trials:
    """Return counts as if every pass of the model were one trial.

    Rows of one pass share exceptions and time. Where all passes are of one size and every row shares the fate of its
    pass, this is the number of passes; for other sizes it is fewer, as in a survey of clusters (Kish 1965, ch. 5).
    """
    part = min(1.0, counts.answers / counts.together) if counts.together else 1.0
    return Trials(counts.answers * part, counts.errors * part, counts.slow * part)
