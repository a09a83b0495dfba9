"""Two models on the same logged requests whose labels are known: how much worse one does, row by row.

Both are scored anew on the features that were logged, whoever answered, so that no split of the traffic bends the
comparison. It decides nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from perennial.data.engine import Engine, quote, quote_time
from perennial.data.views import open_views
from perennial.model.artifact import Model, load_model
from perennial.periods import Window
from perennial.release.logged_answers import LOGGED, feature_columns, has_features, open_logged
from perennial.release.rollout_decision import Losses
from perennial.workspace import Workspace

Vector = NDArray[np.float64]
MOST_BATCHES, MOST_ROWS = 1000, 20_000
"""Of the oldest: enough to tell any difference that matters, and a bound of the time and memory that a look takes."""
CLIP = 4.0
"""A squared error counts as at most so many variances of the label, so that one row cannot decide."""


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

    The loss is the Brier score, for a regression the squared error as a share of `CLIP` variances of the label.

    Raises:
        InvalidModel: A model is not what its training wrote.
        MissingPartition: The lake does not have a batch that the journal names.
    """
    if not comparison.batches:
        return Losses(limit=comparison.max_loss)
    new, old = load_model(ws.store, comparison.new), load_model(ws.store, comparison.old)
    with Engine(ws.settings) as engine:
        open_views(engine, ws, as_of)
        open_logged(engine, ws, comparison.batches[:MOST_BATCHES])
        if not _label(engine, ws, comparison, (new, old), as_of):
            return _nothing(engine, comparison, (new, old))
        scale = _variance(engine, comparison.holdout) if ws.use_case.task == "regression" else 1.0
        if scale is None:
            return Losses(limit=comparison.max_loss, why_none="The label has no variance in the holdout.")
        y, *scores = _scored(engine, new, old)
    most = 1.0 if ws.use_case.task == "binary" else CLIP
    loss, other = (_loss(y, one, scale, most) for one in scores)
    return Losses(loss - other, comparison.max_loss / most)


def _loss(y: Vector, score: Vector, scale: float, most: float) -> Vector:
    """Squared errors between 0 and 1; a score that is not finite is as wrong as can be."""
    errors = (score - y) ** 2 / scale / most
    return np.where(np.isfinite(errors), np.minimum(errors, 1.0), 1.0)


def _label(engine: Engine, ws: Workspace, comparison: Comparison, models: tuple[Model, Model], as_of: datetime) -> int:
    """Keep the comparable rows as `labelled`, and return how many there are."""
    key = ", ".join(map(quote, ws.use_case.key))
    encoders = [one.encoder for one in models]
    mature = f"event_time <= {quote_time(as_of - ws.use_case.label.matures_after)}" if comparison.mature else "TRUE"
    engine.keep(
        "labelled",
        f"SELECT prediction_id, label, {feature_columns(*encoders)} FROM ("
        f"SELECT * FROM {LOGGED} WHERE ({comparison.condition}) AND {has_features(*encoders)} AND {mature} "
        f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY asked_at, prediction_id) = 1) JOIN "
        f"(SELECT {key}, arg_max(label, known_at) AS label FROM labels GROUP BY {key}) USING ({key}) "
        f"ORDER BY asked_at, prediction_id LIMIT {MOST_ROWS}",
    )
    return int(engine.scalar("SELECT count(*) FROM labelled"))


def _nothing(engine: Engine, comparison: Comparison, models: tuple[Model, Model]) -> Losses:
    asked = f"SELECT count(*) FROM {LOGGED} WHERE ({comparison.condition})"
    usable = engine.scalar(f"{asked} AND {has_features(*(one.encoder for one in models))}")
    why = "No logged request has all features of both versions, so they cannot be compared on the same rows."
    return Losses(limit=comparison.max_loss, why_none=why if engine.scalar(asked) and not usable else "")


def _variance(engine: Engine, holdout: Window | None) -> float | None:
    if holdout is None:
        return None
    within = f"event_time >= {quote_time(holdout.start)} AND event_time < {quote_time(holdout.end)}"
    found = engine.scalar(f"SELECT var_samp(label) FROM labels WHERE {within}")
    return float(found) if found else None


def _scored(engine: Engine, *models: Model) -> list[Vector]:
    """The labels, then the scores of each model, in one order."""
    tables = [one.score_query(engine, "labelled", ["prediction_id", "label"]).read_all() for one in models]
    tables = [one.sort_by("prediction_id") for one in tables]
    label = tables[0].column("label").to_numpy().astype("float64")
    return [label, *(one.column("score").to_numpy().astype("float64") for one in tables)]
