"""Answers of the online service as they lie in the lake, each with the features that it was scored on.

`predictions` says who answered what, `requests` what was asked; both have one partition `batch` per collection.
"""

from collections.abc import Sequence

from perennial.data import lake
from perennial.data.engine import Engine, quote, quote_text
from perennial.model.encoding import Encoder
from perennial.workspace import Workspace

LOGGED = "logged"
"""Name of the view: `prediction_id`, key, `event_time`, `release`, `arm`, `rollout`, `model_version`, `score`,
`features_digest`, `features` (JSON), `asked_at`, `batch`."""
_FROM_PREDICTIONS = ("event_time", "release", "arm", "rollout", "model_version", "score", "features_digest", "batch")


def open_logged(engine: Engine, ws: Workspace, batches: Sequence[str]) -> None:
    """Give the answers of some collected batches, at least one, the name `LOGGED`.

    Raises:
        MissingPartition: The lake does not have a batch that the journal names.
    """
    engine.files("collected_predictions", lake.files(ws, "predictions", "batch", batches))
    engine.files("collected_requests", lake.files(ws, "requests", "batch", batches))
    ours = ", ".join(f"p.{quote(one)}" for one in (*ws.use_case.key, *_FROM_PREDICTIONS))
    engine.view(
        LOGGED,
        f"SELECT p.prediction_id, {ours}, r.features, r.asked_at FROM collected_predictions p "
        "JOIN collected_requests r ON p.prediction_id = r.prediction_id AND p.batch = r.batch",
    )


def has_features(*encoders: Encoder) -> str:
    """Return the condition that a logged row names every feature of some models, be its value missing or not."""
    names = sorted({name for one in encoders for name in one.features})
    return f"list_has_all(json_keys(features), [{', '.join(map(quote_text, names))}])"


def feature_columns(*encoders: Encoder) -> str:
    """Return the features of some models as columns, read from the logged JSON."""
    texts = {name for one in encoders for name in one.categories}
    names = sorted({name for one in encoders for name in one.features})
    return ", ".join(f"{_value(name, name in texts)} AS {quote(name)}" for name in names)


def _value(name: str, is_text: bool) -> str:
    path = quote_text('$."' + name.replace('"', '\\"') + '"')
    text = f"json_extract_string(features, {path})"
    if is_text:
        return text
    return f"coalesce(TRY_CAST({text} AS DOUBLE), CASE {text} WHEN 'true' THEN 1.0 WHEN 'false' THEN 0.0 END)"
