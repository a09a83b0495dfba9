"""The rows that a report draws: a bounded sample of a period, and one of the rows its model was judged on.

Which rows they are depends on their keys alone, so that drawing again draws the same; it measures nothing.
"""

import pyarrow as pa

from perennial.data.engine import Engine, quote, quote_time
from perennial.data.features import snapshot_view
from perennial.data.views import NEWEST_LABEL
from perennial.model.artifact import Model
from perennial.records import Trained
from perennial.use_case import UseCase
from perennial.watch.drift import SCORE
from perennial.workspace import Workspace


def sample_scored(engine: Engine, use_case: UseCase, features: str, predictions: str, rows: int) -> pa.Table:
    """Return scored rows with `event_time`, features, `score` and, where known, `label`.

    Args:
        engine: Where both views and `labels` are open.
        use_case: Declares the key.
        features: Name of the view with the feature rows.
        predictions: Name of the view with the scores.
        rows: At most so many.
    """
    key = ", ".join(map(quote, use_case.key))
    drawn = f"SELECT * FROM {quote(features)} SEMI JOIN {quote(predictions)} USING ({key}) {_some(use_case, rows)}"
    scores = f"(SELECT {key}, {quote(SCORE)} FROM {quote(predictions)})"
    return engine.table(_labelled(use_case, f"({drawn}) JOIN {scores} USING ({key})"), name="sample of the period")


def sample_judged(engine: Engine, ws: Workspace, trained: Trained, model: Model, rows: int) -> pa.Table:
    """Return holdout rows of a training with `event_time`, features, `score` and, where known, `label`."""
    snapshot_view(engine, ws, trained.snapshots, "judged_features")
    start, end = quote_time(trained.holdout.start), quote_time(trained.holdout.end)
    within = f"WHERE event_time >= {start} AND event_time < {end}"
    drawn = f"(SELECT * FROM judged_features {within} {_some(ws.use_case, rows)})"
    found = engine.table(_labelled(ws.use_case, drawn), name="sample of the holdout")
    return found.append_column(SCORE, pa.array(model.score(found), pa.float64()))


def _some(use_case: UseCase, rows: int) -> str:
    parts = ", ".join(f"CAST({quote(one)} AS VARCHAR)" for one in use_case.key)
    return f"ORDER BY md5(concat_ws(chr(31), {parts})), {', '.join(map(quote, use_case.key))} LIMIT {rows}"


def _labelled(use_case: UseCase, relation: str) -> str:
    key = ", ".join(map(quote, use_case.key))
    labels = f"(SELECT {key}, {NEWEST_LABEL} AS label FROM labels GROUP BY {key})"
    return f"SELECT * FROM {relation} LEFT JOIN {labels} USING ({key}) ORDER BY event_time, {key}"
