"""What became of one period's predictions: drift, performance and findings, recorded as one measurement.

It gathers and stores; the numbers come from `drift` and `performance`, the sentences from `findings`, and what
follows from them is up to `policy`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from perennial.data import lake
from perennial.data.engine import Engine
from perennial.data.features import snapshot_view
from perennial.data.views import open_views
from perennial.errors import Permanent
from perennial.model.artifact import load_model, load_reference
from perennial.periods import Period
from perennial.records import Entry, Finding, Interval, Level, Measured, Predicted
from perennial.release.predictions import batch_name, prediction_rows
from perennial.state import State, fold
from perennial.watch import findings
from perennial.watch.column_findings import input_findings, score_findings
from perennial.watch.drift import SCORE, Column, Reference, count_bins, population_stability_index
from perennial.watch.findings import Category
from perennial.watch.measurements import measurement_rows
from perennial.watch.online_features import (
    COMPARABLE,
    SERVED,
    batches_of,
    keep_served,
    online_findings,
    open_comparable,
)
from perennial.watch.performance import Outcomes, has_degraded, holdout_performance, measure_performance, read_outcomes
from perennial.watch.report import Picture, draw
from perennial.watch.samples import sample_judged, sample_scored
from perennial.workspace import Workspace

_FEATURES, _PREDICTIONS = "period_features", "period_predictions"
_LOUDEST_FIRST = (Level.ALERT, Level.WARNING, Level.INFO)


class NothingServes(Permanent):
    """No release has been made, so there is nothing whose work could be measured."""


@dataclass(frozen=True)
class Subject:
    """What a measurement is about: one release's work on one period, as known at a moment."""

    period: Period
    as_of: datetime
    release: int
    version: int
    model: str
    snapshot: str | None
    """Partition of `features` that was scored; `None` when the period has no features."""
    predicted: Predicted | None
    """The scored rows; `None` when nothing was scored."""
    is_empty: bool = False
    """Whether there was nothing to score, as the delivery says."""
    online: tuple[str, ...] = ()
    """Batches that may hold what the version answered online in the period."""

    @property
    def name(self) -> str:
        """Its partition of `measurements`, and its report: a later measurement leaves those of an earlier one alone."""
        return f"{self.period}.r{self.release}.{self.as_of.astimezone(UTC):%Y-%m-%dT%H%M%SZ}"


@dataclass(frozen=True)
class Numbers:
    """All that was counted for a subject."""

    reference: Reference
    features: dict[str, Column]
    served: dict[str, Column]
    """The features of requests; nothing when there were none, or no rows to compare them with."""
    comparable: dict[str, Column]
    """Those of the period's own rows in the span that requests were for."""
    score: Column | None
    outcomes: Outcomes | None

    def drift(self) -> dict[str, float | None]:
        """Return the population stability index per feature and of the score."""
        bins = {**self.reference.features, SCORE: self.reference.score}
        now = {**self.features, **({SCORE: self.score} if self.score else {})}
        return {
            name: population_stability_index(one.all_counts, now[name].counts) if name in now else None
            for name, one in bins.items()
        }


def measure(ws: Workspace, period: Period, as_of: datetime) -> Measured:
    """Measure how a period was scored, on the labels known at `as_of`, and record what is found.

    The batch of the period that was scored with the newest knowledge is measured, else the champion with the finding
    that nothing was scored. The same moment again finds its record; a later one, when more labels are known, is a new
    measurement.

    Args:
        ws: Whose predictions.
        period: The period that was scored.
        as_of: Only what was known then counts, UTC.

    Raises:
        NothingServes: There is no release yet.
        InvalidModel: The model's folder is not what its training wrote.
        MissingPartition: The lake has lost what the journal names.
    """
    entries = ws.journal.entries()
    state = fold(entries, as_of)
    subject = _subject(ws, state, period, as_of)
    subject = replace(subject, online=batches_of(entries, subject.version, period, as_of))
    recorded = _recorded(entries, subject)
    if recorded is not None:
        return recorded
    with Engine(ws.settings) as engine:
        _open(engine, ws, fold(entries), subject)
        measured = _judged(ws, state, subject, _numbers(engine, ws, subject))
        if subject.predicted:
            measured = _with_report(engine, ws, state, subject, measured)
    lake.append(ws, "measurements", measurement_rows(measured, as_of), "measurement", subject.name)
    return ws.journal.find_or_append(lambda now: _recorded(now, subject), lambda _: measured, as_of)


def _subject(ws: Workspace, state: State, period: Period, as_of: datetime) -> Subject:
    scored = [one for one in state.predicted_by_moment if one.period == period.label]
    if scored:
        one = scored[-1]
        if not one.rows:
            return Subject(period, as_of, one.release, one.version, one.model, None, None, is_empty=True)
        return Subject(period, as_of, one.release, one.version, one.model, one.snapshot, one)
    champion = state.champion
    if champion is None:
        raise NothingServes(
            f"`{ws.use_case.slug}` has no release at {as_of:%Y-%m-%d %H:%M} UTC, so there is nothing to measure in "
            f"`{period}`. Train, register and deploy a model first."
        )
    built = [one.partition for one in state.features.values() if one.period == period.label]
    snapshot = built[-1] if built else None
    return Subject(period, as_of, champion.number, champion.version, champion.model, snapshot, None)


def _recorded(entries: tuple[Entry, ...], subject: Subject) -> Measured | None:
    asked = (subject.period.label, subject.release)
    records = [one.record for one in entries if one.at == subject.as_of]
    return next((one for one in records if isinstance(one, Measured) and (one.period, one.release) == asked), None)


def _open(engine: Engine, ws: Workspace, state: State, subject: Subject) -> None:
    open_views(engine, ws, subject.as_of, state=state)
    if subject.snapshot:
        snapshot_view(engine, ws, [subject.snapshot], _FEATURES)
    if subject.predicted:
        prediction_rows(engine, ws, [batch_name(subject.predicted)], _PREDICTIONS)


def _numbers(engine: Engine, ws: Workspace, subject: Subject) -> Numbers:
    reference = load_reference(ws.store, subject.model)
    features = count_bins(engine, _FEATURES, reference.features) if subject.snapshot else {}
    served, comparable = _asked(engine, ws, subject, reference) if subject.online and subject.snapshot else ({}, {})
    if not subject.predicted:
        return Numbers(reference, features, served, comparable, None, None)
    score = count_bins(engine, _PREDICTIONS, {SCORE: reference.score})[SCORE]
    outcomes = read_outcomes(engine, ws.use_case, _PREDICTIONS, subject.as_of)
    return Numbers(reference, features, served, comparable, score, outcomes)


def _asked(
    engine: Engine, ws: Workspace, subject: Subject, reference: Reference
) -> tuple[dict[str, Column], dict[str, Column]]:
    keep_served(engine, ws, subject.online, reference.features, subject.version, subject.period)
    open_comparable(engine, _FEATURES)
    return count_bins(engine, SERVED, reference.features), count_bins(engine, COMPARABLE, reference.features)


def _judged(ws: Workspace, state: State, subject: Subject, numbers: Numbers) -> Measured:
    outcomes = numbers.outcomes
    performance = measure_performance(outcomes, ws.use_case) if outcomes else {}
    holdout = holdout_performance(state.training_of(subject.model))
    found = sorted(
        _findings(ws, state, subject, numbers, performance, holdout), key=lambda one: _LOUDEST_FIRST.index(one.level)
    )
    return Measured(
        period=subject.period.label,
        release=subject.release,
        version=subject.version,
        rows=outcomes.rows if outcomes else 0,
        labels=outcomes.labels if outcomes else 0,
        performance=performance,
        reference={name: holdout[name] for name in performance if name in holdout},
        drift=numbers.drift(),
        findings=tuple(found),
        report=None,
    )


def _findings(
    ws: Workspace,
    state: State,
    subject: Subject,
    numbers: Numbers,
    performance: dict[str, Interval],
    holdout: dict[str, Interval],
) -> Iterator[Finding]:
    monitoring, primary = ws.use_case.monitoring, ws.use_case.metrics.primary
    outcomes = numbers.outcomes
    overdue = subject.as_of >= subject.period.end + ws.use_case.label.matures_after
    yield from findings.contract_findings(state, subject.period.label)
    yield from findings.late_findings(state, ws.use_case.entity, subject.period.label)
    reference = numbers.reference.features
    if subject.snapshot:
        yield from input_findings(reference, numbers.features, monitoring)
    yield from online_findings(reference, numbers.served, numbers.comparable, monitoring)
    if outcomes is None or numbers.score is None:
        yield findings.nothing_to_score() if subject.is_empty else findings.no_predictions()
        return
    yield from score_findings(numbers.reference.score, numbers.score, monitoring)
    yield from findings.volume_findings(outcomes.rows, outcomes.mature, len(outcomes.y), overdue, monitoring)
    now, before = performance[primary], holdout.get(primary)
    verdict = has_degraded(primary, now, before, monitoring.max_loss)
    yield from findings.performance_findings(primary, verdict, now, before)


def _with_report(engine: Engine, ws: Workspace, state: State, subject: Subject, measured: Measured) -> Measured:
    try:
        page = draw(_picture(engine, ws, state, subject, measured))
    except Exception as error:  # the report is a courtesy, and its failure must not hide what was measured
        return measured.model_copy(update={"findings": (*measured.findings, findings.report_failed(error))})
    path = f"reports/{ws.use_case.slug}/{subject.name}.html"
    ws.store.put(path, page.encode())
    return measured.model_copy(update={"report": path})


def _picture(engine: Engine, ws: Workspace, state: State, subject: Subject, measured: Measured) -> Picture:
    trained = state.training_of(subject.model)
    model, most = load_model(ws.store, subject.model), ws.use_case.monitoring.report_rows
    current = sample_scored(engine, ws.use_case, _FEATURES, _PREDICTIONS, most)
    judged = sample_judged(engine, ws, trained, model, most) if trained else current.slice(0, 0)
    labels = {"label"} if ws.use_case.task == "binary" else set()
    drifted = (Category.FEATURE_DRIFT, Category.SCORE_DRIFT)
    return Picture(
        title=f"{ws.use_case.title}, {subject.period}",
        facts=(
            f"Release {subject.release} (version {subject.version}), measured with what was known at "
            f"{subject.as_of:%Y-%m-%d %H:%M} UTC: {measured.rows:,} rows, labels pending for "
            f"{measured.rows - measured.labels:,} of {measured.rows:,}.",
        ),
        performance=measured.performance,
        holdout=measured.reference,
        findings=measured.findings,
        drift=measured.drift,
        drifted=frozenset(one.subject for one in measured.findings if one.category in drifted),
        categorical=frozenset(model.encoder.categories) | labels,
        reference=judged,
        current=current,
    )
