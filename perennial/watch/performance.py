"""How well predictions did, on the labels known by now: metrics with intervals, and whether they have degraded.

It only looks at rows whose label should be known by now, so that labels which come early do not bend the picture.
"""

import math
from datetime import datetime
from typing import NamedTuple

from perennial.data.engine import Engine, quote, quote_time
from perennial.data.views import NEWEST_LABEL
from perennial.model.metrics import METRICS, Vector, intervals
from perennial.records import Answer, Interval, Trained, Verdict
from perennial.use_case import UseCase


class Outcomes(NamedTuple):
    """The predictions of a period beside what became of them."""

    rows: int
    labels: int
    """Rows whose label is known."""
    mature: int
    """Rows whose label should be known."""
    y: Vector
    """Labels of the mature rows that have one, ordered by key, shape (n,)."""
    score: Vector
    """Their scores, shape (n,)."""


def read_outcomes(engine: Engine, use_case: UseCase, view: str, as_of: datetime) -> Outcomes:
    """Join the predictions of a view with the view `labels` (see `open_views`); of several labels the newest counts.

    Args:
        engine: Where both views are open, `labels` as known at `as_of`.
        use_case: Declares the key and when labels are mature.
        view: Name of the view with the predictions.
        as_of: A row is mature when its event lies `label.matures_after` or more before.
    """
    key = ", ".join(map(quote, use_case.key))
    mature = f"event_time <= {quote_time(as_of - use_case.label.matures_after)}"
    engine.keep(
        "outcomes",
        f"SELECT {key}, score, label, {mature} AS mature FROM {quote(view)} LEFT JOIN "
        f"(SELECT {key}, {NEWEST_LABEL} AS label FROM labels GROUP BY {key}) USING ({key})",
    )
    counted = engine.table(
        "SELECT count(*) AS rows, count(label) AS labels, count(*) FILTER (mature) AS mature FROM outcomes"
    )
    known = engine.table(f"SELECT label, score FROM outcomes WHERE mature AND label IS NOT NULL ORDER BY {key}")
    y, score = (known.column(name).to_numpy().astype("float64") for name in ("label", "score"))
    return Outcomes(**{name: int(value) for name, value in counted.to_pylist()[0].items()}, y=y, score=score)


def measure_performance(outcomes: Outcomes, use_case: UseCase) -> dict[str, Interval]:
    """Return the declared metrics with their intervals; undefined with fewer than `monitoring.min_labels` labels."""
    names = [use_case.metrics.primary, *use_case.metrics.also]
    rows = len(outcomes.y)
    if rows < use_case.monitoring.min_labels:
        return {name: Interval(value=None, rows=rows) for name in names}
    gate = use_case.gate
    seed = use_case.training.seed
    return intervals(names, outcomes.y, outcomes.score, resamples=gate.resamples, confidence=gate.confidence, seed=seed)


def holdout_performance(trained: Trained | None) -> dict[str, Interval]:
    """Return the metrics that a model had on its holdout; none when its training is unknown."""
    if trained is None:
        return {}
    return next((one.metrics for one in trained.candidates if one.model == trained.model), {})


def has_degraded(metric: str, current: Interval | None, reference: Interval | None, max_loss: float) -> Verdict:
    """Say whether a metric is worse than on the holdout.

    FAIL when it is worse by more than `max_loss` and the whole interval of the loss lies above 0, so that noise
    alone raises no alarm. That interval is put together from those of both values, which come from different rows
    (MOVER, Zou and Donner 2008). INCONCLUSIVE when a value is undefined, or when the loss is large but could be
    noise.
    """
    if current is None or current.value is None:
        rows = current.rows if current else 0
        return _said(Answer.INCONCLUSIVE, f"`{metric}` is undefined on the {rows:,} labels that are mature and known.")
    if reference is None or reference.value is None:
        return _said(Answer.INCONCLUSIVE, f"`{metric}` is {current.value:.3f}, but the model's holdout has no value.")
    sign = 1.0 if METRICS[metric].higher_is_better else -1.0
    loss = sign * (reference.value - current.value)
    least = _least_loss(current, reference, sign)
    numbers = {"value": current.value, "reference": reference.value, "loss": loss, "least": least, "max_loss": max_loss}
    compared = (
        f"`{metric}` is {current.value:.3f} on {current.rows:,} labels and was {reference.value:.3f} on "
        f"{reference.rows:,} of the holdout: a loss of {loss:.3f}, allowed are {max_loss:g}."
    )
    if loss <= max_loss:
        return _said(Answer.PASS, compared, numbers)
    if least is None or least <= 0:
        return _said(Answer.INCONCLUSIVE, f"{compared} With so few rows it may be noise.", numbers)
    return _said(Answer.FAIL, f"{compared} It is at least {least:.3f}, noise considered.", numbers)


def _least_loss(current: Interval, reference: Interval, sign: float) -> float | None:
    best, worst = (current.high, reference.low) if sign > 0 else (current.low, reference.high)
    if best is None or worst is None or current.value is None or reference.value is None:
        return None
    noise = math.hypot(best - current.value, worst - reference.value)
    return sign * (reference.value - current.value) - noise


def _said(answer: Answer, reason: str, numbers: dict[str, float | None] | None = None) -> Verdict:
    return Verdict(answer=answer, reasons=(reason,), numbers=numbers or {})
