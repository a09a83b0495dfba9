"""Two models on the same logged requests whose labels are known: how much worse one does, row by row.

Both are scored anew on the features that were logged, whoever answered, so that no split of the traffic bends the
comparison. It decides nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from perennial.data.engine import Engine, quote, quote_time
from perennial.data.views import NEWEST_LABEL, open_views
from perennial.errors import PerennialError, Permanent
from perennial.model.artifact import Model, load_model
from perennial.periods import Window
from perennial.release.logged_answers import LOGGED, feature_columns, has_features, open_logged
from perennial.release.rollout_decision import ALLOWANCE, Losses
from perennial.workspace import Workspace

Vector = NDArray[np.float64]
Times = NDArray[np.int64]
"""Microseconds since 1970."""
_HOUR = 3_600_000_000
_SPAN, _OVER, _ARRIVED = "asked:in", "asked:over", "label:arrived"
"""Columns beside the features; no feature has such a name."""
MOST_BATCHES, MOST_ROWS, MOST_PER_HOUR = 20_000, 20_000, 50
"""Of the oldest, and after those of each hour: enough to tell any difference that matters, also one that begins late,
and a bound of the time and memory that a look takes. What was compared once is compared at every later look."""
ENOUGH = 30
"""Labels from which an hour or a day has a mean."""
COLLECTED = timedelta(minutes=10)
"""After an hour or a day, until its answers are surely in the lake."""
CLIP = 4.0
"""A squared error counts as at most so many variances of the label, so that one row cannot decide."""


class NotComparable(Permanent):
    """A model raised an exception at rows that were logged."""


@dataclass(frozen=True)
class Scored:
    """The compared rows in one order, each array of shape (n,)."""

    y: Vector
    """Labels, NaN where there is none."""
    ours: Vector
    theirs: Vector
    spans: Times
    """The hour or day in which each was asked."""
    is_over: NDArray[np.bool_]
    """Whether that was over at the moment of the look."""
    arrived: Times
    """When the label became known."""


@dataclass(frozen=True)
class Comparison:
    """Which models are compared on which rows."""

    new: str
    old: str
    batches: Sequence[str]
    """Of `predictions` and `requests`, oldest first."""
    condition: str
    """SQL on the columns of `LOGGED`."""
    holdout: Window | None
    """Of the new model's training: where the variance of the label is measured."""
    max_loss: float
    """As `serving.trial.max_loss`."""
    mature: bool = False
    """Look only at rows whose label should be known by now."""


def compare(ws: Workspace, comparison: Comparison, as_of: datetime) -> Losses:
    """Return the differences of the losses on the labels known at a moment, each key once, by its first request.

    The loss is the Brier score, for a regression the squared error as a share of `CLIP` variances of the label. How
    far the scores are apart is told of all requests, labelled or not.

    Raises:
        InvalidModel: A model is not what its training wrote.
        NotComparable: A model raised an exception at one of the rows.
        MissingPartition: The lake does not have a batch that the journal names.
    """
    if not comparison.batches:
        return Losses(limit=comparison.max_loss)
    models = load_model(ws.store, comparison.new), load_model(ws.store, comparison.old)
    with Engine(ws.settings) as engine:
        open_views(engine, ws, as_of)
        open_logged(engine, ws, comparison.batches[:MOST_BATCHES])
        if not _keep_rows(engine, ws, comparison, models, as_of):
            return _nothing(engine, comparison, models)
        worst = 1.0 if ws.use_case.task == "binary" else CLIP * _variance(engine, comparison.holdout)
        scored = _scored(engine, models)
    share = 1.0 if ws.use_case.task == "binary" else CLIP
    length = _HOUR * (24 if comparison.mature else 1)
    return _losses(scored, comparison.max_loss / share, ALLOWANCE / share, worst, length)


def span_means(values: Vector, spans: Times, arrived: Times, length: int) -> Vector:
    """Return the mean of each hour or day that has enough labels.

    It is of those that had arrived when it was over, or later when there were enough: what comes after changes nothing.

    Args:
        values: One per label, shape (n,).
        spans: When the hour or day of each began.
        arrived: When each label became known.
        length: Of an hour or day.
    """
    means = []
    for span in np.unique(spans):
        within, when = values[spans == span], arrived[spans == span]
        if len(within) >= ENOUGH:
            until = max(np.sort(when)[ENOUGH - 1], span + length)
            means.append(within[when <= until].mean())
    return np.array(means)


def _losses(scored: Scored, limit: float, allowance: float, worst: float, length: int) -> Losses:
    y, ours, theirs = scored.y, scored.ours, scored.theirs
    apart = np.abs(ours - theirs)
    apart = apart[np.isfinite(apart)]
    known = ~np.isnan(y) if worst > 0 else np.zeros(len(y), bool)
    why_none = "" if worst > 0 else "The label has no variance in the holdout of the version."
    loss, other = (_loss(y[known], one[known], worst) for one in (ours, theirs))
    over = scored.is_over[known]
    return Losses(
        loss - other,
        limit,
        allowance,
        span_means((loss - other)[over], scored.spans[known][over], scored.arrived[known][over], length),
        why_none,
        compared=len(apart),
        difference=float(apart.sum()),
        squared_difference=float((apart**2).sum()),
    )


def _loss(y: Vector, score: Vector, worst: float) -> Vector:
    """Squared errors as a share of the worst that counts; a score that is not finite is as wrong as can be."""
    with np.errstate(all="ignore"):
        errors = (score - y) ** 2 / worst
    return np.where(np.isfinite(errors), np.minimum(errors, 1.0), 1.0)


def _keep_rows(
    engine: Engine, ws: Workspace, comparison: Comparison, models: tuple[Model, Model], as_of: datetime
) -> int:
    """Keep the comparable rows as `comparable`, the oldest first, and return how many there are."""
    key = ", ".join(map(quote, ws.use_case.key))
    encoders = [one.encoder for one in models]
    span = f"date_trunc('{'day' if comparison.mature else 'hour'}', {{}})"
    of = f"epoch_us({span.format('asked_at')})"
    is_over = f"{span.format('asked_at')} < {span.format(quote_time(as_of - COLLECTED))}"
    mature = f"event_time <= {quote_time(as_of - ws.use_case.label.matures_after)}" if comparison.mature else "TRUE"
    engine.keep(
        "comparable",
        f"SELECT prediction_id, label, {of} AS {quote(_SPAN)}, {is_over} AS {quote(_OVER)}, "
        f"epoch_us(arrived) AS {quote(_ARRIVED)}, {feature_columns(*encoders)} FROM ("
        f"SELECT * FROM {LOGGED} WHERE ({comparison.condition}) AND {has_features(*encoders)} AND {mature} "
        f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY asked_at, prediction_id) = 1) LEFT JOIN "
        f"(SELECT {key}, {NEWEST_LABEL} AS label, min(known_at) AS arrived FROM labels GROUP BY {key}) "
        f"USING ({key}) "
        f"QUALIFY row_number() OVER (ORDER BY asked_at, prediction_id) <= {MOST_ROWS} OR row_number() OVER "
        f"(PARTITION BY date_trunc('hour', asked_at) ORDER BY asked_at, prediction_id) <= {MOST_PER_HOUR} "
        f"ORDER BY asked_at, prediction_id",
    )
    return int(engine.scalar("SELECT count(*) FROM comparable"))


def _nothing(engine: Engine, comparison: Comparison, models: tuple[Model, Model]) -> Losses:
    asked = f"SELECT count(*) FROM {LOGGED} WHERE ({comparison.condition})"
    usable = engine.scalar(f"{asked} AND {has_features(*(one.encoder for one in models))}")
    lacking = "No logged request has all features of both versions, so they cannot be compared on the same rows."
    return Losses(limit=comparison.max_loss, why_none=lacking if engine.scalar(asked) and not usable else "")


def _variance(engine: Engine, holdout: Window | None) -> float:
    """The variance of the label where the version was judged; 0 where nobody knows."""
    if holdout is None:
        return 0.0
    within = f"event_time >= {quote_time(holdout.start)} AND event_time < {quote_time(holdout.end)}"
    return float(engine.scalar(f"SELECT var_samp(label) FROM labels WHERE {within}") or 0.0)


def _scored(engine: Engine, models: tuple[Model, Model]) -> Scored:
    kept = ["prediction_id", "label", _SPAN, _OVER, _ARRIVED]
    try:
        ours, theirs = (
            one.score_query(engine, "comparable", kept).read_all().sort_by("prediction_id") for one in models
        )
    except PerennialError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {str(error)[:300]}"
        raise NotComparable(f"A model could not score what was logged, where it shows as errors: {said}") from error
    y, new, old = (
        one.to_numpy().astype("float64") for one in (ours.column("label"), ours.column("score"), theirs.column("score"))
    )
    spans, is_over = (ours.column(one).to_numpy() for one in (_SPAN, _OVER))
    return Scored(y, new, old, spans, is_over, ours.column(_ARRIVED).fill_null(0).to_numpy())
