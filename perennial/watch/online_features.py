"""Features as requests had them, against those that the model was fitted on and those of the rows of the same time.

What it finds is no reason to train, since training has what requests lacked; so it has a category of its own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate

from perennial.data import lake
from perennial.data.engine import Engine, quote, quote_text, quote_time
from perennial.digests import digest_bytes
from perennial.periods import Period
from perennial.records import AnswersCollected, Entry, Finding
from perennial.use_case import Monitoring
from perennial.watch.column_findings import input_findings
from perennial.watch.drift import Bins, Column, have_parted
from perennial.watch.findings import Category
from perennial.workspace import Workspace

MOST_BATCHES, MOST_ROWS = 500, 100_000
"""Of one measurement, drawn by the hash of their names and ids: enough to tell drift, and a bound of what is read."""
SERVED, COMPARABLE = "served_features", "comparable_features"
_LATE = timedelta(days=1)
"""How long after the end of a period its answers are collected at most."""
_TOLD = (Category.CONSTANT_COLUMN, Category.FEATURE_DRIFT)


def batches_of(entries: Iterable[Entry], version: int, period: Period, as_of: datetime) -> tuple[str, ...]:
    """Draw from the batches that may hold what a version answered in a period, of those collected by a moment.

    They are as many as have `MOST_ROWS` answers of the version together, and `MOST_BATCHES` at most.
    """
    until = min(as_of, period.end + _LATE)
    collected = (one.record for one in entries if period.start <= one.at <= until)
    rows = {
        one.batch: one.versions[version]
        for one in collected
        if isinstance(one, AnswersCollected) and one.versions.get(version)
    }
    drawn = sorted(rows, key=lambda batch: digest_bytes(batch.encode()))[:MOST_BATCHES]
    before = accumulate((rows[batch] for batch in drawn), initial=0)
    return tuple(batch for batch, read in zip(drawn, before, strict=False) if read < MOST_ROWS)


def keep_served(
    engine: Engine, ws: Workspace, batches: Sequence[str], features: Iterable[str], version: int, period: Period
) -> None:
    """Keep the features, as texts, that a version scored in a period as `SERVED`, with the `event_time` of each row.

    Args:
        engine: Where they are kept.
        ws: Whose answers.
        batches: At least one; see `batches_of`.
        features: Their names.
        version: The model's.
        period: When they were asked.
    """
    for table in ("predictions", "requests"):
        engine.files(f"collected_{table}", lake.files(ws, table, "batch", batches))
    listed = (f"json_extract_string(features, {quote_text(_pointer(one))}) AS {quote(one)}" for one in features)
    engine.keep(
        SERVED,
        f"SELECT event_time, {', '.join(listed)} FROM (SELECT event_time, features FROM collected_requests "
        f"JOIN collected_predictions USING (prediction_id, batch) WHERE model_version = {version} "
        f"AND asked_at >= {quote_time(period.start)} AND asked_at < {quote_time(period.end)} "
        f"ORDER BY md5_number_lower(prediction_id), prediction_id LIMIT {MOST_ROWS})",
    )


def open_comparable(engine: Engine, rows: str) -> None:
    """Give the rows of a view that happened within the span that `SERVED` was asked for the name `COMPARABLE`."""
    span = f"SELECT min(event_time) AS first, max(event_time) AS last FROM {SERVED}"
    engine.view(COMPARABLE, f"SELECT * FROM {quote(rows)} SEMI JOIN ({span}) ON event_time BETWEEN first AND last")


def online_findings(
    reference: Mapping[str, Bins], served: Mapping[str, Column], rows: Mapping[str, Column], monitoring: Monitoring
) -> Iterator[Finding]:
    """Say which features are empty, constant or drifted in requests, and others there than in rows of the same time.

    Where such rows are not known, as before their delivery, nothing is said: drift that they would show as well is
    told of them.

    Args:
        reference: What the model saw.
        served: What requests had; nothing where there were none.
        rows: What the period's own rows have in the span that was asked for; nothing where there are no features.
        monitoring: Declares the limits.
    """
    for one in input_findings(reference, served, monitoring) if served else ():
        column = rows.get(one.subject) if one.category in _TOLD else None
        if column and _is_other(one.category, served[one.subject], column, monitoring.drift):
            yield _online(one)


def _is_other(category: str, served: Column, rows: Column, limit: float) -> bool:
    varies = rows.missing < rows.rows and not rows.constant
    return (category == Category.CONSTANT_COLUMN and varies) or have_parted(rows.counts, served.counts, limit)


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
