"""What replicas of the online services report, in numbers: who is there, by which release, and what was refused.

The services have metrics of their own at `/metrics`, of every request; these tell of a service that has none to ask.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from prometheus_client.core import GaugeMetricFamily

from deployments.notices import EXPECTED
from deployments.services.serving_overview import service_of
from perennial.errors import PerennialError
from perennial.periods import Every
from perennial.workspace import Workspace

_ABOUT = {
    "serving_ready_replicas": "Replicas of the online service that answer by a release",
    "serving_reporting_replicas": "Replicas that reported within ten seconds",
    "serving_wanted_replicas": "Replicas that `perennial up` starts",
    "serving_silent_replicas": "Replicas that fell silent within ten minutes, without a farewell",
    "serving_released_number": "Number of the newest release, 0 before the first",
    "serving_answering_number": "Number of the oldest release that a replica answers by",
    "serving_refusals": "Releases and rollouts that a replica refuses now",
    "serving_rollout_share": "Share of the requests that a version on trial answers, or is shown copies of",
    "serving_log_lag_rows": "Rows answered and not yet in the log for good",
    "serving_dropped_rows": "Rows answered by the present replicas and never logged",
    "serving_lost_rows": "Rows answered and never logged because a replica died, ever",
    "serving_audited_rows": "Rows answered that were computed again offline, ever",
    "serving_audits_failed": "Audits that found other features or scores than training computes, ever",
    "serving_features_timestamp_seconds": "Moment for which the online features were made last",
    "serving_newest_row_timestamp_seconds": "Newest row of the source that lies back furthest, of those features read",
    "serving_newest_row_within_seconds": "Age that this row may have while deliveries come as they should",
}


_LONGEST = {Every.DAY: timedelta(days=1), Every.MONTH: timedelta(days=31), Every.YEAR: timedelta(days=366)}
NEWEST_ROW_WITHIN = {every: EXPECTED[every] + length for every, length in _LONGEST.items()}
"""Age that the newest row may have, by the length of periods: one more than a delivery may, since it can be from the
beginning of the period that was delivered."""


def serving_metrics(workspaces: Iterable[Workspace], environment: str, now: datetime) -> Iterator[GaugeMetricFamily]:
    """Give the numbers of every use case that declares `serving`; one whose reports cannot be read has none."""
    labels = ("use_case", "environment")
    families = {
        name: GaugeMetricFamily(f"perennial_{name}", f"{about}.", labels=labels) for name, about in _ABOUT.items()
    }
    for ws in workspaces:
        try:
            told = service_of(ws, now)
        except PerennialError:
            continue
        within = NEWEST_ROW_WITHIN[ws.use_case.every].total_seconds()
        for name, value in _numbers(told, ws.settings.serving_replicas, within) if told else ():
            if value is not None:
                families[name].add_metric([ws.use_case.slug, environment], value)
    yield from families.values()


def _numbers(told: dict[str, Any], wanted: int, within: float) -> Iterator[tuple[str, float | None]]:
    yield "serving_ready_replicas", told["ready"]
    yield "serving_reporting_replicas", told["replicas"]
    yield "serving_wanted_replicas", wanted
    yield "serving_silent_replicas", told["silent"]
    yield "serving_released_number", told["released"] or 0
    yield "serving_answering_number", min((one["release"] for one in told["answers_by"]), default=None)
    yield "serving_refusals", len(told["refused"])
    yield "serving_rollout_share", told["rollout"]["share"] if told["rollout"] else 0
    yield "serving_log_lag_rows", told["log_lag_rows"]
    yield "serving_dropped_rows", told["dropped_rows"]
    yield "serving_lost_rows", told["lost_rows"]
    yield "serving_audited_rows", told["audited_rows"]
    yield "serving_audits_failed", told["audits_failed"]
    yield "serving_newest_row_within_seconds", within
    for name, at in (("features", told["features_at"]), ("newest_row", told["newest_row_at"])):
        yield f"serving_{name}_timestamp_seconds", at.timestamp() if at else None
