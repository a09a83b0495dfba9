"""Whether a challenger should be trained now: a pure decision on the journal's state and a measurement.

It trains nothing, and does not say whether a challenger may serve: that is the gate.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from perennial.data.views import known_deliveries
from perennial.periods import Period, format_duration
from perennial.records import Accepted, Entry, Finding, Measured, Released, RetrainingDecided
from perennial.state import State, fold
from perennial.use_case import Cause, Monitoring, Retraining
from perennial.watch.claims import in_the_way
from perennial.watch.drift import SCORE
from perennial.watch.findings import Category, number
from perennial.watch.maturity import is_performance_known, rests_on_most
from perennial.workspace import Workspace

_CATEGORIES: dict[Cause, Category] = {
    "performance": Category.PERFORMANCE_DEGRADED,
    "score-drift": Category.SCORE_DRIFT,
    "feature-drift": Category.FEATURE_DRIFT,
}


class Argument(NamedTuple):
    """One declared cause, as it stands."""

    for_training: bool
    sentence: str


def decide_retraining(
    state: State,
    period: Period,
    measured: Measured | None,
    policy: Retraining,
    monitoring: Monitoring,
    as_of: datetime,
    rows: tuple[int, int] = (0, 0),
    waiting: str | None = None,
    matured: Measured | None = None,
) -> RetrainingDecided:
    """Say whether a challenger is due, with every reason for and against, in sentences with their numbers.

    Nothing served yet is reason enough. Later it needs one of the declared causes, and the last training,
    whether a model came of it or not, must lie `cooldown` or more back: a training that fails, or whose model the
    gate refuses, must not be asked for again at once. A measurement of a release that serves no more is no cause.

    Args:
        state: What the journal amounts to at `as_of`.
        period: The period that has passed.
        measured: What monitoring found for it; `None` if nothing was measured.
        policy: Declares causes, `max_age` and `cooldown`.
        monitoring: Declares the limits that the sentences name.
        as_of: The moment it decides for, UTC.
        rows: Rows of the entity that are known at `as_of`, and that were at the last training, for `growth`.
        waiting: Why no further retraining may be asked for, as `in_the_way` says.
        matured: A measurement of this moment whose performance is known, perhaps of an earlier period: what the cause
            `performance` looks at, where labels come late.
    """
    champion = state.champion_before(as_of)
    if champion is None:
        first = "Nothing serves yet."
        if waiting:
            return RetrainingDecided(period=period.label, action="nothing", reasons=(first, waiting))
        return RetrainingDecided(period=period.label, action="retrain", reasons=(first,))
    told = matured if matured and matured.release == champion.number else measured
    arguments = [
        *_arguments(state, champion, measured, told, policy, monitoring, as_of),
        *([_of_growth(rows, policy.growth)] if "growth" in policy.on else []),
    ]
    causes = tuple(one.sentence for one in arguments if one.for_training)
    waiting = waiting or _cooling(state, policy.cooldown, as_of)
    due = bool(causes) and waiting is None
    against = tuple(one.sentence for one in arguments if not one.for_training)
    reasons = causes if due else (*([waiting] if waiting else []), *causes, *against)
    return RetrainingDecided(
        period=period.label,
        release=champion.number,
        action="retrain" if due else "nothing",
        reasons=reasons or ("`retraining.on` declares no cause.",),
    )


def record_decision(ws: Workspace, period: Period, as_of: datetime) -> RetrainingDecided:
    """Decide on the newest measurement of a period and append the answer; the same question again is found answered.

    A later `as_of`, when more labels are known, is a new question. Whoever asks for something that another was
    asked for already is told so: the journal lets one answer at a time be added.
    """
    return ws.journal.find_or_append(
        lambda entries: answer_to(entries, period, as_of), lambda entries: _decided(ws, entries, period, as_of), as_of
    )


def answer_to(entries: tuple[Entry, ...], period: Period, as_of: datetime) -> RetrainingDecided | None:
    """Return what was decided for a period at a moment, `None` if nothing was.

    An answer about another champion than the one until then does not count: a model may have been released for an
    earlier moment since, by somebody who mended what had kept it from being trained.
    """
    champion = fold(entries).champion_before(as_of)
    release = champion.number if champion else None
    records = [one.record for one in entries if one.at == as_of]
    answers = [one for one in records if isinstance(one, RetrainingDecided) and one.period == period.label]
    return next((one for one in reversed(answers) if one.release == release), None)


def newest_performance(measured: Sequence[Measured], champion: Released | None, primary: str) -> Measured | None:
    """Return what tells of the champion's performance, of all that was measured at one moment; `None` if nothing does.

    It is the newest that rests on most of its rows, or else on some: a whole month tells more than the first days of
    the next.

    Args:
        measured: In their order; also of earlier periods, whose labels came late.
        champion: Whose work was measured.
        primary: The metric that must be known.
    """
    of_champion = [one for one in reversed(measured) if champion and one.release == champion.number]
    known = [one for one in of_champion if is_performance_known(one, primary)]
    whole = [one for one in known if rests_on_most(one, primary)]
    return next(iter([*whole, *known]), None)


def foresee(ws: Workspace, period: Period, as_of: datetime) -> RetrainingDecided:
    """Say what `record_decision` would answer, or has answered, and write nothing."""
    entries = ws.journal.entries()
    return answer_to(entries, period, as_of) or _decided(ws, entries, period, as_of)


def _decided(ws: Workspace, entries: tuple[Entry, ...], period: Period, as_of: datetime) -> RetrainingDecided:
    state = fold(entries, as_of)
    newest = next((one for one in reversed(state.measured) if one.period == period.label), None)
    matured = [one.record for one in entries if one.at == as_of and isinstance(one.record, Measured)]
    return decide_retraining(
        state,
        period,
        newest,
        ws.use_case.retraining,
        ws.use_case.monitoring,
        as_of,
        rows=(_known_rows(ws, state, as_of), _known_rows(ws, state, max(state.trained_at.values(), default=as_of))),
        matured=newest_performance(matured, state.champion_before(as_of), ws.use_case.metrics.primary),
        waiting=in_the_way(fold(entries), as_of, ws.use_case.retraining.cooldown),
    )


def _arguments(
    state: State,
    champion: Released,
    measured: Measured | None,
    matured: Measured | None,
    policy: Retraining,
    monitoring: Monitoring,
    as_of: datetime,
) -> Iterator[Argument]:
    of_champion = {
        cause: one
        for cause in policy.on
        if cause in _CATEGORIES and (one := matured if cause == "performance" else measured) is not None
        if one.release == champion.number
    }
    yield from (_of_findings(cause, one, monitoring) for cause, one in of_champion.items())
    if any(cause in _CATEGORIES and cause not in of_champion for cause in policy.on):
        yield Argument(False, _unmeasured(champion, measured))
    if "age" in policy.on:
        yield _of_age(state, champion, policy.max_age, as_of)


def _known_rows(ws: Workspace, state: State, moment: datetime) -> int:
    known = known_deliveries(state, moment)
    return sum(one.accepted for one in known if one.source == ws.use_case.entity and _is_past(one, moment))


def _is_past(delivery: Accepted, moment: datetime) -> bool:
    return Period.parse(delivery.period).start < moment


def _of_findings(cause: Cause, measured: Measured, monitoring: Monitoring) -> Argument:
    found = [one for one in measured.findings if one.category == _CATEGORIES[cause]]
    return Argument(True, _told(found)) if found else Argument(False, _quiet(cause, measured, monitoring))


def _of_age(state: State, champion: Released, limit: timedelta, as_of: datetime) -> Argument:
    training = state.training_of(champion.model)
    if training is None:
        return Argument(False, "The champion's age is unknown: its training is not in the journal.")
    age = as_of - state.trained_at[training.key]
    return Argument(age >= limit, f"The champion was trained {_days(age)} ago, `max_age` is {format_duration(limit)}.")


def _of_growth(rows: tuple[int, int], limit: float) -> Argument:
    """The newest training counts, not the champion's: a challenger that was refused has seen the rows too."""
    now, then = rows
    growth = now / then - 1 if then else 0.0
    told = f"{now:,} rows are known, at the last training {then:,} were: {growth:+.0%}, `growth` is {limit:+.0%}."
    return Argument(growth >= limit, told)


def _cooling(state: State, cooldown: timedelta, as_of: datetime) -> str | None:
    moments = [*state.trained_at.values(), *state.training_refused_at.values()]
    since = as_of - max(moments) if moments else cooldown
    if since >= cooldown:
        return None
    return f"The last training is {_days(since)} old, `cooldown` is {format_duration(cooldown)}."


def _unmeasured(champion: Released, measured: Measured | None) -> str:
    if measured is None:
        return f"Release {champion.number} was not measured in this period."
    return f"The measurement is of release {measured.release}, but release {champion.number} serves now."


def _told(findings: list[Finding]) -> str:
    more = f" So it is with {len(findings) - 1} more." if len(findings) > 1 else ""
    return findings[0].summary + more


def _quiet(cause: Cause, measured: Measured, monitoring: Monitoring) -> str:
    if cause == "score-drift":
        return f"The stability index of the score is {number(measured.drift.get(SCORE))}, limit {monitoring.drift}."
    if cause == "feature-drift":
        known = [value for name, value in measured.drift.items() if name != SCORE and value is not None]
        most = number(max(known, default=None))
        return f"The largest stability index of a feature is {most}, limit {monitoring.drift}."
    return _performance(measured, monitoring)


def _performance(measured: Measured, monitoring: Monitoring) -> str:
    name, now = next(iter(measured.performance.items()), ("performance", None))
    if now is None or now.value is None:
        known = f"{now.rows if now else 0:,} of {measured.rows:,} labels are mature and known"
        return f"Performance is unknown: {known}, {monitoring.min_labels:,} are needed."
    before = measured.reference.get(name)
    then = number(before.value if before else None)
    return f"`{name}` is {now.value:.3f}, was {then} on the holdout and may lose {monitoring.max_loss:g}, noise aside."


def _days(span: timedelta) -> str:
    days = span / timedelta(days=1)
    return f"{days:.0f} days" if days >= 2 else f"{days:.1f} days"
