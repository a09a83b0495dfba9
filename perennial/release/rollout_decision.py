"""What becomes of a version on its way to serve: a pure decision on what replicas counted and labels showed.

It reads nothing and records nothing. FAIL rests on evidence that may be looked at every second (`sequential`), with
`serving.trial.alpha` split evenly over the checks, so that an equally good version is refused at most that often.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from perennial.release.checks import Check, bad, doubt, good, verdict_of
from perennial.release.counting import independent
from perennial.release.reports import Counts
from perennial.release.sequential import mean_above, mean_above_by_sums, rate_above, rate_above_other
from perennial.serving_spec import Health, Serving, Trial
from perennial.values import Answer, Verdict

CHECKS = 4
"""Errors, slowness, disagreement, quality: each gets the same part of alpha."""
NO_QUALITY = "There is no evidence of its quality on real requests, only the gate's."
ALLOWANCE = 0.05
"""Mean difference of the losses, beyond the declared limit, that no hour and no day is taken to make by itself."""
SILENT = 3
"""Times that replicas fell silent while they took part, from which the version is what made them."""


@dataclass(frozen=True)
class Losses:
    """How much worse one model did than another on the same labelled rows, each row once."""

    values: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """Loss of the new model minus that of the old one, each between 0 and 1, so between -1 and 1; shape (n,)."""
    limit: float = 0.0
    """Mean from which it is too much, in the same measure."""
    allowance: float = ALLOWANCE
    """By how much an hour or a day may by itself favour one of two equally good models, in the same measure."""
    spans: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """Means of the hours, for mature labels of the days, that are over and had enough labels; shape (s,)."""
    why_none: str = ""
    """Why there is nothing to compare, where that is no matter of waiting."""
    compared: int = 0
    """Rows that both models scored, with a label or without."""
    difference: float = 0.0
    """Sum of the absolute differences of their scores."""
    squared_difference: float = 0.0


@dataclass(frozen=True)
class Evidence:
    """All that a trial showed so far."""

    replicas: int
    """That reported just now."""
    taking_part: int
    """Of these: have loaded the version."""
    refused: Mapping[str, str]
    """Of these: why not, by replica, through the version's own fault."""
    silent: int
    """How often replicas that took part fell silent without taking leave."""
    challenger: Counts
    """What it did, summed over all replicas that ever took part."""
    other: Counts
    """What it is compared with: the baseline arm of equal age, for a shadow the champion."""
    answers_before: int = 0
    """Answers of the challenger when the present step began."""
    losses: Losses = Losses()
    waiting: Mapping[str, str] = field(default_factory=dict)
    """Of the replicas: why they could not load it yet, through no fault of its own."""


def decide_rollout(evidence: Evidence, serving: Serving, *, is_last: bool, is_overdue: bool) -> Verdict:
    """Say whether a version may go on to its next step, or after the last one serve, and why.

    Args:
        evidence: What replicas reported and labels showed.
        serving: Declares health, trial and so the limits.
        is_last: Whether a PASS lets it serve: then labels are asked for too.
        is_overdue: Whether the deadline has passed: then nothing is PASS any more.

    Returns:
        FAIL if it is shown to be worse than allowed, PASS if it has shown enough, else INCONCLUSIVE: HOLD, or after
        the deadline the end of the trial.
    """
    trial = serving.trial
    checks = [
        *_on_replicas(evidence),
        *_on_answers(evidence, serving),
        *_on_health(evidence, serving.health, trial),
        *_on_disagreement(evidence.challenger, trial),
        *_on_labels(evidence.losses, trial, is_last),
    ]
    late = [doubt("The deadline has passed, and it has not shown that it may serve.")] if is_overdue else []
    return verdict_of([*late, *checks])


def threshold(alpha: float, parts: int) -> float:
    """Return the evidence from which one of several checks fails."""
    return log(parts / alpha)


def _on_replicas(evidence: Evidence) -> Iterator[Check]:
    replicas, part = evidence.replicas, evidence.taking_part
    if evidence.silent >= SILENT:
        yield bad(f"{evidence.silent} times replicas fell silent while they took part.", silent=evidence.silent)
    if not replicas:
        yield doubt("No replica has reported just now.", replicas=0)
    elif len(evidence.refused) >= replicas:
        yield bad(f"No replica takes it on: {told(evidence.refused)}", replicas=replicas)
    elif evidence.refused:
        yield doubt(f"{len(evidence.refused)} of {replicas} replicas refuse it: {told(evidence.refused)}")
    elif part < replicas:
        why = f": {told(evidence.waiting)}" if evidence.waiting else "."
        yield doubt(f"{part} of {replicas} replicas have loaded it{why}", replicas=replicas)
    else:
        yield good(f"All {replicas} replicas have loaded it.", replicas=replicas)


def _on_answers(evidence: Evidence, serving: Serving) -> Iterator[Check]:
    asked, compared = serving.trial.min_answers, serving.health.min_answers
    given = evidence.challenger.answers - evidence.answers_before
    said = f"It gave {max(given, 0):,} answers in this step, {asked:,} are asked for."
    yield (good if given >= asked else doubt)(said, answers=evidence.challenger.answers)
    if evidence.other.answers < compared:
        yield doubt(
            f"What it is compared with gave {evidence.other.answers:,} answers, and {compared:,} say something."
        )


def _on_health(evidence: Evidence, health: Health, trial: Trial) -> Iterator[Check]:
    ours, theirs = evidence.challenger, evidence.other
    for what, key, limit in (("failed", "errors", health.errors), ("were slow", "slow", health.slow)):
        count, other = getattr(ours, key), getattr(theirs, key)
        name, found = what.split()[-1], _beyond(key, ours, theirs, limit)
        numbers = {name: share(count, ours.answers), f"other {name}": share(other, theirs.answers)}
        said = (
            f"{count:,} of its {ours.answers:,} answers {what}, of the version that serves {other:,} of "
            f"{theirs.answers:,}; {limit:.2%} are allowed."
        )
        if found >= threshold(trial.alpha, CHECKS):
            yield bad(f"{said} {odds(found)}", **numbers)
        elif (share(count, ours.answers) or 0.0) > max(limit, share(other, theirs.answers) or 0.0):
            yield doubt(f"{said} It may be chance.", **numbers)
        else:
            yield good(said, **numbers)


def _beyond(key: str, ours: Counts, theirs: Counts, limit: float) -> float:
    """The evidence that a rate is above the limit, and above the other's too."""
    one, two = independent(ours), independent(theirs)
    count, other = getattr(one, key), getattr(two, key)
    return min(rate_above(count, one.answers, limit), rate_above_other(count, one.answers, other, two.answers))


def _on_disagreement(ours: Counts, trial: Trial) -> Iterator[Check]:
    mean = ours.difference / ours.compared if ours.compared else None
    said = f"Its scores differ by {mean or 0.0:.4g} in the mean of {ours.compared:,} requests"
    if trial.disagreement is None:
        yield good(f"{said}; no limit is declared.", disagreement=mean)
        return
    allowed = f"; {trial.disagreement:g} is allowed."
    found = mean_above_by_sums(ours.compared, ours.difference, ours.squared_difference, trial.disagreement)
    if found >= threshold(trial.alpha, CHECKS):
        yield bad(f"{said}{allowed} {odds(found)}", disagreement=mean)
    elif ours.compared < trial.min_answers:
        yield doubt(f"{said}, {trial.min_answers:,} are asked for.", disagreement=mean)
    else:
        yield (good if (mean or 0.0) <= trial.disagreement else doubt)(said + allowed, disagreement=mean)


def _on_labels(losses: Losses, trial: Trial, is_last: bool) -> Iterator[Check]:
    check = on_losses(losses, threshold(trial.alpha, CHECKS), trial.min_labels if is_last else 0)
    waits = is_last and trial.min_labels > 0
    reason = check.reason if len(losses.values) else f"{NO_QUALITY} {check.reason}"
    yield check if waits or check.answer is Answer.FAIL else good(reason, **check.numbers)


def on_losses(losses: Losses, limit: float, min_labels: int) -> Check:
    """Judge how much worse a model did than another on the labels that are known.

    Args:
        losses: Row by row.
        limit: Evidence from which it fails.
        min_labels: Fewer labels say nothing good.
    """
    labels = len(losses.values)
    if not labels:
        return doubt(losses.why_none or "No label of what it was asked has arrived.", labels=0)
    mean = float(losses.values.mean())
    numbers = {"labels": float(labels), "loss": mean}
    said = (
        f"On {labels:,} labels its loss is higher by {mean:.4g} than that of the other; {losses.limit:.4g} is allowed."
    )
    gross, steady = _shown(losses)
    if gross >= limit:
        return bad(f"{said} {odds(gross)}", **numbers)
    if steady >= limit:
        above, spans = int((losses.spans > losses.limit).sum()), len(losses.spans)
        return bad(f"{said} So it was in {above:,} of {spans:,} spans of time. {odds(steady)}", **numbers)
    if labels < min_labels:
        return doubt(f"{said} {min_labels:,} labels are asked for.", **numbers)
    return (good if mean <= losses.limit else doubt)(said, **numbers)


def _shown(losses: Losses) -> tuple[float, float]:
    """The evidence of a gross loss, and of one that comes again and again; each may use half of alpha.

    Rows of one hour or day share what that is like, so they are held to a limit that no hour or day exceeds by itself.
    A smaller loss shows in hours or days, each of which is above the limit or not, whatever the number of its rows.
    """
    gross = mean_above(losses.values, losses.limit + losses.allowance)
    steady = mean_above(np.sign(losses.spans - losses.limit), 0.0)
    return gross - log(2), steady - log(2)


def share(count: int, of: int) -> float | None:
    """Return a share, `None` of nothing."""
    return count / of if of else None


def odds(found: float) -> str:
    """Write evidence as odds: an equally good version shows as much at most once in so many trials."""
    return f"Chance alone does that at most once in {exp(min(found, log(1e9))):,.0f}."


def told(why: Mapping[str, str]) -> str:
    """Write what replicas say, each reason once."""
    return "; ".join(dict.fromkeys(why.values()))[:500]
