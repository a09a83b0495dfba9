"""What monitoring can find, each with its numbers and what to do about it: pure functions from numbers to findings.

Findings on columns are in `column_findings`. Whether a finding is a reason to train is decided by `policy`.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from textwrap import shorten

from perennial.periods import Period
from perennial.records import Accepted, Answer, Finding, Interval, Level, Refused, Verdict
from perennial.state import State
from perennial.use_case import Monitoring

NOTABLE_SHARE = 0.01
"""Share of rows from which something is a warning and not just a note."""
_ROOM = 100
"""Characters of an error that are told in one line; its detail has all."""


class Category(StrEnum):
    """Every category of findings. The values are a stable contract: automations match on them."""

    CONTRACT_VIOLATIONS = "contract-violations"
    """Rows of a delivery are in quarantine, or the delivery was refused whole."""
    LATE_ROWS = "late-rows"
    """A delivery of the entity has rows of earlier periods."""
    MISSING_COLUMN = "missing-column"
    """A feature that the model was fitted on is not there."""
    CONSTANT_COLUMN = "constant-column"
    """A feature that varied has one value now, or none."""
    NEW_CATEGORY = "new-category"
    """A categorical feature has values that the model never saw."""
    FEATURE_DRIFT = "feature-drift"
    """A feature is distributed differently than when the model was fitted."""
    ONLINE_FEATURES = "online-features"
    """A feature of requests is empty, constant or distributed differently, and is not so in the period's rows."""
    SCORE_DRIFT = "score-drift"
    """The scores are distributed differently than when the model was judged."""
    PERFORMANCE_DEGRADED = "performance-degraded"
    """The primary metric is worse than on the holdout, by more than allowed and more than noise explains."""
    LABELS_MISSING = "labels-missing"
    """Labels should be known by now and are not."""
    FEW_ROWS = "few-rows"
    """Fewer rows were scored than labels are needed to measure performance."""
    NO_PREDICTIONS = "no-predictions"
    """Nothing was scored in the period."""
    REPORT_FAILED = "report-failed"
    """The report could not be drawn; the numbers are complete without it."""


def contract_findings(state: State, period: str) -> Iterator[Finding]:
    """Name the deliveries of a period with rows in quarantine, and those that were refused and not mended since."""
    judged: list[Accepted | Refused] = [*state.accepted, *state.refused]
    places = {(one.source, one.period) for one in judged if one.period in (period, "whole")}
    for source, label in sorted(places):
        accepted = state.delivery(source, label)
        refused = [one for one in state.refused if (one.source, one.period) == (source, label)]
        if refused and (accepted is None or refused[-1].revision > accepted.revision):
            yield _refused(refused[-1])
        elif accepted is not None and accepted.quarantined:
            yield _quarantined(accepted)


def late_findings(state: State, entity: str, period: str) -> Iterator[Finding]:
    """Say that the delivery of a period has rows of earlier ones, which were scored without them."""
    one = state.delivery(entity, period)
    if one is None or one.oldest is None or not one.late:
        return
    first = Period.containing(one.oldest, Period.parse(period).every)
    rows = "1 row" if one.late == 1 else f"{one.late:,} rows"
    yield Finding(
        level=Level.WARNING if one.late >= NOTABLE_SHARE * one.accepted else Level.INFO,
        category=Category.LATE_ROWS,
        subject=entity,
        summary=f"{rows} of `{entity}` in `{period}` happened in earlier periods, the oldest in `{first}`.",
        detail="They count in the periods in which they happened. Trainings from now on see them; what was scored "
        "before was scored without them.",
        resolution=f"Run `predict` and `monitor` for these periods again, from `{first}` on.",
    )


def volume_findings(rows: int, mature: int, labels: int, overdue: bool, monitoring: Monitoring) -> Iterator[Finding]:
    """Say whether rows or labels are too few to measure performance.

    Args:
        rows: Rows scored in the period.
        mature: Those of them whose label should be known by now.
        labels: Those of the mature ones whose label is known.
        overdue: Whether the whole period is mature.
        monitoring: Declares `min_labels`.
    """
    needed = monitoring.min_labels
    if rows < needed:
        yield _few_rows(rows, needed)
    if labels < needed <= mature or (overdue and not labels):
        yield _labels_missing(labels, mature, needed)


def performance_findings(
    metric: str, verdict: Verdict, current: Interval | None, reference: Interval | None
) -> Iterator[Finding]:
    """Say that performance has degraded when the verdict on it is FAIL; doubt is no finding."""
    if verdict.answer is not Answer.FAIL or current is None or reference is None:
        return
    yield Finding(
        level=Level.ALERT,
        category=Category.PERFORMANCE_DEGRADED,
        subject=metric,
        summary=f"`{metric}` is {number(current.value)} on {current.rows:,} labels; it was {number(reference.value)} "
        "on the holdout.",
        detail=" ".join(verdict.reasons),
        resolution="Look at the findings on features and contracts first: a broken feed looks like a bad model. "
        "If the world has changed, train a challenger; if a release brought it, roll back.",
    )


def no_predictions() -> Finding:
    """Say that nothing was scored."""
    return Finding(
        level=Level.ALERT,
        category=Category.NO_PREDICTIONS,
        summary="Nothing was scored in this period.",
        detail="There are no predictions of the period in the journal, so there is nothing to measure.",
        resolution="Run `predict` for the period; if it has no rows, look at the deliveries of the entity.",
    )


def nothing_to_score() -> Finding:
    """Say that there was nothing to score, as the delivery says."""
    return Finding(
        level=Level.INFO,
        category=Category.NO_PREDICTIONS,
        summary="There was nothing to score in this period.",
        detail="The delivery of the entity was accepted and has no rows of this period.",
        resolution="If something happened in it, ingest and validate the period again once the source has its rows.",
    )


def report_failed(error: Exception) -> Finding:
    """Say that the report could not be drawn, and why."""
    told = f"{type(error).__name__}: {error}"
    return Finding(
        level=Level.WARNING,
        category=Category.REPORT_FAILED,
        summary=f"The report could not be drawn. {shorten(told, _ROOM, placeholder=' ...')}",
        detail=told,
        resolution="The numbers of this measurement are complete without it. Please report the error with its data.",
    )


def _refused(one: Refused) -> Finding:
    return Finding(
        level=Level.ALERT,
        category=Category.CONTRACT_VIOLATIONS,
        subject=one.source,
        summary=f"Delivery `{one.period}` of `{one.source}`, revision {one.revision}, was refused whole.",
        detail=f"{one.summary} Rows: {one.rows:,}. {_reasons(one.reasons)}".strip(),
        resolution=f"Fix the source and ingest `{one.period}` again, or widen `sources.{one.source}` in use_case.yaml.",
    )


def _quarantined(one: Accepted) -> Finding:
    share = one.quarantined / max(1, one.rows)
    return Finding(
        level=Level.WARNING if share >= NOTABLE_SHARE else Level.INFO,
        category=Category.CONTRACT_VIOLATIONS,
        subject=one.source,
        summary=f"{one.quarantined:,} of {one.rows:,} rows ({share:.2%}) of `{one.source}` `{one.period}` are in "
        "quarantine.",
        detail=_reasons(one.reasons),
        resolution="See the rows with `perennial quarantine`; mend the source or the contract, and replay them.",
    )


def _few_rows(rows: int, needed: int) -> Finding:
    return Finding(
        level=Level.WARNING,
        category=Category.FEW_ROWS,
        summary=f"Only {rows:,} rows were scored.",
        detail=f"Performance is measured from {needed:,} labels on (`monitoring.min_labels`), so it stays unknown; "
        "drift is judged against what chance does to so few rows.",
        resolution="Look whether the delivery is complete. If periods are this small, choose a longer `every` or a "
        "smaller `monitoring.min_labels`.",
    )


def _labels_missing(labels: int, mature: int, needed: int) -> Finding:
    return Finding(
        level=Level.WARNING,
        category=Category.LABELS_MISSING,
        summary=f"Only {labels:,} of {mature:,} rows have their label, although it should be known by now.",
        detail=f"Performance is measured from {needed:,} labels on (`monitoring.min_labels`), so it is unknown; only "
        "drift is watched.",
        resolution="Look at the deliveries of the label's source, and ingest what is missing. If labels come later "
        "than declared, raise `label.matures_after`.",
    )


def _reasons(reasons: Mapping[str, int]) -> str:
    worst: Iterable[tuple[str, int]] = sorted(reasons.items(), key=lambda one: (-one[1], one[0]))[:5]
    return "; ".join(f"{reason}: {rows:,} rows" for reason, rows in worst)


def number(value: float | None) -> str:
    """Write a number that may be undefined."""
    return "undefined" if value is None else f"{value:.3f}"
