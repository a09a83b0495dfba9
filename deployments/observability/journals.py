"""What the journals of an environment tell in numbers: when each stage last did its work, and how the models do."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily

from deployments.notices import EXPECTED
from perennial.errors import PerennialError
from perennial.records import (
    Accepted,
    Entry,
    Judged,
    Level,
    Measured,
    Predicted,
    Received,
    Registered,
    Released,
    Trained,
)
from perennial.state import State, fold
from perennial.workspace import Workspace

STAGES: dict[type, str] = {
    Received: "ingestion",
    Accepted: "validation",
    Trained: "training",
    Registered: "registration",
    Judged: "judging",
    Released: "deployment",
    Predicted: "prediction",
    Measured: "monitoring",
}


@dataclass
class _Families:
    """One family per number, each with the labels `use_case` and `environment` first."""

    environment: str
    made: dict[str, GaugeMetricFamily] = field(default_factory=dict)

    def add(self, name: str, about: str, use_case: str, value: float | None, **labels: str) -> None:
        if name not in self.made:
            names = ("use_case", "environment", *labels)
            self.made[name] = GaugeMetricFamily(f"perennial_{name}", f"{about}.", labels=names)
        if value is not None:
            self.made[name].add_metric([use_case, self.environment, *labels.values()], value)


def journal_metrics(workspaces: Iterable[Workspace], environment: str) -> Iterator[GaugeMetricFamily]:
    """Fold each journal and give its numbers; one that cannot be read is `perennial_journal_up` 0."""
    families = _Families(environment)
    for ws in workspaces:
        slug = ws.use_case.slug
        try:
            entries = ws.journal.entries()
            _add(families, ws, entries, fold(entries))
            is_up = 1
        except PerennialError:
            is_up = 0
        families.add("journal_up", "Whether the journal could be read", slug, is_up)
    yield from families.made.values()


def _add(families: _Families, ws: Workspace, entries: tuple[Entry, ...], state: State) -> None:
    slug = ws.use_case.slug
    families.add("journal_entries", "Entries of the journal", slug, len(entries))
    for stage, at in _last_successes(entries).items():
        about = "Moment for which a stage last did its work, in seconds since 1970"
        families.add("last_success_timestamp_seconds", about, slug, at.timestamp(), stage=stage)
    about = "Time after which the next period should have been done"
    families.add("expected_within_seconds", about, slug, EXPECTED[ws.use_case.every].total_seconds())
    if state.champion:
        families.add("champion_version", "Version that serves", slug, state.champion.version)
        families.add("release_number", "Number of the release that serves", slug, state.champion.number)
    for source in ws.use_case.sources:
        newest = next((one for one in reversed(state.accepted) if one.source == source), None)
        if newest:
            about = "Rows of the newest delivery that are in quarantine"
            families.add("quarantined_rows", about, slug, newest.quarantined, source=source)
            families.add("delivered_rows", "Rows of the newest delivery", slug, newest.rows, source=source)
    families.add("open_retrainings", "Retrainings that were asked for and are not done", slug, _open(state))
    if state.measured:
        _add_measured(families, slug, state.measured[-1], ws.use_case.metrics.primary)


def _add_measured(families: _Families, slug: str, measured: Measured, primary: str) -> None:
    families.add("labels_known", "Labels known of the rows measured last", slug, measured.labels)
    families.add("rows_measured", "Rows measured last", slug, measured.rows)
    about = "Metric of the champion on the labels known, newest measurement"
    for name, found in measured.performance.items():
        families.add("model_score", about, slug, found.value, metric=name)
    about = "Primary metric of the champion on its holdout, when it was judged"
    before = measured.reference.get(primary)
    families.add("model_score_at_judgement", about, slug, before.value if before else None, metric=primary)
    families.add("score_drift", "Population stability index of the score", slug, measured.drift.get("score"))
    for level in Level:
        count = sum(one.level is level for one in measured.findings)
        families.add("findings", "Findings of the newest measurement", slug, count, level=level.value)


def _last_successes(entries: tuple[Entry, ...]) -> dict[str, datetime]:
    """Backfilling an old period makes nothing older: what counts is the latest moment, not the newest entry."""
    found: dict[str, datetime] = {}
    for one in entries:
        if stage := STAGES.get(type(one.record)):
            found[stage] = max(one.at, found.get(stage, one.at))
    return found


def _open(state: State) -> int:
    return sum(one.is_open for one in state.requests.values())
