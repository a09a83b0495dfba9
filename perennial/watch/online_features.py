"""Features as requests had them, against those that the model was fitted on: what runs empty online shows only there.

What it finds is no reason to train, since training has what requests lacked; so it has a category of its own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from perennial.data import lake
from perennial.data.engine import Engine, quote, quote_text, quote_time
from perennial.periods import Period
from perennial.records import AnswersCollected, Entry, Finding
from perennial.use_case import Monitoring
from perennial.watch.column_findings import input_findings
from perennial.watch.drift import Bins, Column
from perennial.watch.findings import Category
from perennial.workspace import Workspace

MOST_ROWS = 100_000
"""Of one measurement, drawn by the hash of their ids."""
_LATE = timedelta(days=1)
"""How long after the end of a period its answers are collected at most."""
_TOLD = (Category.CONSTANT_COLUMN, Category.FEATURE_DRIFT)


def batches_of(entries: Iterable[Entry], version: int, period: Period, as_of: datetime) -> tuple[str, ...]:
    """Return the batches that may hold what a version answered in a period, of those collected by a moment."""
    until = min(as_of, period.end + _LATE)
    collected = (one.record for one in entries if period.start <= one.at <= until)
    return tuple(one.batch for one in collected if isinstance(one, AnswersCollected) and one.versions.get(version))


def served_features(
    engine: Engine, ws: Workspace, batches: Sequence[str], features: Iterable[str], version: int, period: Period
) -> str:
    """Return the name of a view of the features, as texts, that a version scored in a period.

    Args:
        engine: Where the view is made.
        ws: Whose answers.
        batches: At least one; see `batches_of`.
        features: Their names.
        version: The model's.
        period: When they were asked.
    """
    for table in ("predictions", "requests"):
        engine.files(f"served_{table}", lake.files(ws, table, "batch", batches))
    listed = (f"json_extract_string(features, {quote_text(_pointer(one))}) AS {quote(one)}" for one in features)
    engine.view(
        "served_features",
        f"SELECT {', '.join(listed)} FROM (SELECT features FROM served_requests "
        f"JOIN served_predictions USING (prediction_id, batch) WHERE model_version = {version} "
        f"AND asked_at >= {quote_time(period.start)} AND asked_at < {quote_time(period.end)} "
        f"ORDER BY md5_number_lower(prediction_id), prediction_id LIMIT {MOST_ROWS})",
    )
    return "served_features"


def online_findings(
    reference: Mapping[str, Bins], served: Mapping[str, Column], batch: Iterable[Finding], monitoring: Monitoring
) -> Iterator[Finding]:
    """Say which features are empty, constant or drifted in requests, and were not found to be so in the period's rows.

    Args:
        reference: What the model saw.
        served: What requests had; nothing where there were none.
        batch: What was found of the features of the period.
        monitoring: Declares the limits.
    """
    said = {(one.category, one.subject) for one in batch}
    for one in input_findings(reference, served, monitoring) if served else ():
        if one.category in _TOLD and (one.category, one.subject) not in said:
            yield _online(one)


def _online(found: Finding) -> Finding:
    return found.model_copy(
        update={
            "category": Category.ONLINE_FEATURES,
            "summary": f"In requests {found.summary}",
            "resolution": "Training again mends nothing that only requests lack. See how old the newest row is that "
            "online features rest on, and deliver what this one looks back on more often, let it look back further, "
            "or leave it out.",
        }
    )


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")
