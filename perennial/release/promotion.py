"""A model of another environment: copied with its evidence, and made ready to be judged on this one's own data.

It judges and releases nothing: that is done here as for any model, by `judging` and `releases`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NoReturn

from perennial.data.leakage import audit
from perennial.data.queries import QueryLost, copy_query
from perennial.errors import Permanent
from perennial.model.artifact import InvalidModel, copy_model
from perennial.model.dataset import forget_datasets
from perennial.model.metrics import Scores, intervals
from perennial.model.plan import TrainingPlan, make_plan
from perennial.model.probe import probe_model
from perennial.model.requirements import check_names, check_rows
from perennial.model.training import fit_candidate, holdout_scores
from perennial.periods import Period
from perennial.records import (
    Answer,
    Answered,
    CandidateFit,
    Entry,
    Promoted,
    PromotionRefused,
    Record,
    Registered,
    Station,
    Trained,
)
from perennial.state import State, fold
from perennial.workspace import Workspace


class SameEnvironment(Permanent):
    """A model can only be promoted from one environment to another."""


class NothingToPromote(Permanent):
    """The source has no such version, or no champion."""


class NotPromotable(Permanent):
    """The source itself would not let the version serve, or this environment cannot judge it."""


def find_station(source: Workspace, version: int | None) -> Station:
    """Return a version of the source with its evidence: by default the champion.

    Raises:
        NothingToPromote: The source has no such version, or no champion.
        NotPromotable: The source's gate did not pass the version, or it was withdrawn there.
    """
    state, slug, name = source.state(), source.use_case.slug, source.settings.environment
    registered = _registered(state, slug, name, version)
    trained, verdicts = state.training_of(registered.model), state.verdicts_on(registered.model)
    where = f"Version {registered.version} of `{slug}` in `{name}`"
    if trained is None:
        raise NotPromotable(f"{where} has no training in its journal, so nobody knows what it was fitted on.")
    if not verdicts or verdicts[-1].verdict.answer is not Answer.PASS:
        said = f"said {verdicts[-1].verdict.answer}: {' '.join(verdicts[-1].verdict.reasons)}" if verdicts else "is due"
        raise NotPromotable(
            f"{where} did not pass the gate there, which {said} Only a version that passed is promoted."
        )
    taken_back = state.withdrawn.get(registered.model)
    if taken_back:
        raise NotPromotable(f"{where} was withdrawn there: {taken_back.reason} Promote the version that serves.")
    return Station(
        environment=name,
        storage=source.settings.storage_root,
        version=registered.version,
        run=registered.run,
        trained=trained,
        judged=verdicts[-1],
    )


def receive_model(ws: Workspace, source: Workspace, version: int | None, as_of: datetime) -> Promoted:
    """Copy a version of another environment with its evidence, and prepare what it is to be judged on here.

    The windows are those that a training of this environment would have at `as_of`; its holdout judges the model,
    and the declared baseline is fitted before it, as an opponent where nothing serves yet. A model that is here is
    not received again, unless its verdict was INCONCLUSIVE or another gate's and the labelled rows are others by now.

    Raises:
        SameEnvironment: Source and target are one.
        NothingToPromote: The source has no such version, or no champion.
        NotPromotable: The source did not pass or has withdrawn it, or it was withdrawn here, a file of it is not what
            its training wrote, it does not answer its golden questions, or there are too few labelled rows here. What
            was found out here is in the journal.
    """
    if (source.settings.environment, source.store.root) == (ws.settings.environment, ws.store.root):
        raise SameEnvironment(f"`{ws.settings.environment}` is where the model is; name another environment.")
    station = find_station(source, version)
    state = ws.state()
    known = state.promoted.get(station.trained.model)
    if known and _is_settled(ws, state, known):
        return known
    _require_not_withdrawn(ws, station, state, as_of)
    _copy(ws, source, station, as_of)
    plan = _plan(ws, station, as_of)
    if known and known.trained.labels == plan.labels:
        return known
    earlier = source.state().promoted.get(station.trained.model)
    promoted = Promoted(
        model=station.trained.model,
        stations=(*(earlier.stations if earlier else ()), station),
        trained=_transplant(ws, station.trained, plan, as_of),
        trained_at=source.state().trained_at[station.trained.key],
    )

    def decision(entries: tuple[Entry, ...]) -> Promoted | None:
        now = fold(entries).promoted.get(promoted.model)
        return promoted if now == known else None

    ws.journal.decide(decision, as_of)
    return ws.state().promoted[promoted.model]


def record_answer(ws: Workspace, answered: Answered, at: datetime) -> Answered:
    """Write down who let a promoted version serve, or did not; the same answer of one run is written once."""

    def decision(entries: tuple[Entry, ...]) -> Answered | None:
        return None if answered in fold(entries).answered else answered

    ws.journal.decide(decision, at)
    return answered


def _registered(state: State, slug: str, name: str, version: int | None) -> Registered:
    if version is None and state.champion is None:
        raise NothingToPromote(f"Nothing of `{slug}` serves in `{name}` yet, so there is nothing to promote.")
    wanted = version if version is not None else state.champion.version if state.champion else None
    found = next((one for one in state.registered.values() if one.version == wanted), None)
    if found is None:
        known = ", ".join(str(one.version) for one in state.registered.values()) or "none"
        raise NothingToPromote(f"`{slug}` has no version {wanted} in `{name}`. There are: {known}.")
    return found


def _is_settled(ws: Workspace, state: State, known: Promoted) -> bool:
    if state.champion and state.champion.model == known.model:
        return True
    verdicts = [one for one in state.verdicts_on(known.model) if one.gate == ws.use_case.gate_digest]
    return bool(verdicts) and verdicts[-1].verdict.answer is not Answer.INCONCLUSIVE


def _require_not_withdrawn(ws: Workspace, station: Station, state: State, as_of: datetime) -> None:
    taken_back = state.withdrawn.get(station.trained.model)
    if taken_back:
        _refuse(ws, station, f"It served in `{ws.settings.environment}` and was withdrawn: {taken_back.reason}", as_of)


def _copy(ws: Workspace, source: Workspace, station: Station, as_of: datetime) -> None:
    try:
        copy_model(source.store, ws.store, station.trained.model)
        copy_query(source, ws, station.trained.query)
    except (InvalidModel, QueryLost) as error:
        _refuse(ws, station, str(error), as_of)
    probed = probe_model(ws.store, station.trained.model)
    if probed.answer is not Answer.PASS:
        _refuse(ws, station, " ".join(probed.reasons), as_of)


def _plan(ws: Workspace, station: Station, as_of: datetime) -> TrainingPlan:
    check_names(ws.use_case)
    plan = make_plan(ws, as_of)
    try:
        check_rows(ws.use_case, plan)
    except Permanent as error:
        _refuse(ws, station, f"`{ws.settings.environment}` has too little to judge it on: {error}", as_of)
    return plan


def _transplant(ws: Workspace, origin: Trained, plan: TrainingPlan, as_of: datetime) -> Trained:
    """The same fit, seen from here: every window but those of the fit, and all that was read, are of this place."""
    baseline = fit_candidate(ws, plan, next(iter(ws.use_case.training.candidates)))
    forget_datasets()
    trained = origin.model_copy(
        update={
            "baseline": baseline.model,
            "holdout": plan.holdout,
            "holdout_rows": plan.holdout_rows.rows,
            "snapshots": plan.snapshots,
            "features_version": plan.features_version,
            "labels": plan.labels,
            "audit": audit(ws, [Period.parse(label) for label in plan.periods], plan.as_of, seed=plan.seed),
        }
    )
    kept = next(one for one in origin.candidates if one.model == origin.model)
    scores = holdout_scores(ws, trained, origin.model, as_of)
    return trained.model_copy(update={"candidates": _fits(ws, plan, baseline, kept, scores)})


def _fits(
    ws: Workspace, plan: TrainingPlan, baseline: CandidateFit, kept: CandidateFit, scores: Scores
) -> Sequence[CandidateFit]:
    names = list(dict.fromkeys([ws.use_case.metrics.primary, *ws.use_case.metrics.also]))
    gate = ws.use_case.gate
    metrics = intervals(
        names, scores.y, scores.score, resamples=gate.resamples, confidence=gate.confidence, seed=plan.seed
    )
    judged_here = kept.model_copy(update={"metrics": metrics})
    return (judged_here,) if kept.name == baseline.name else (baseline, judged_here)


def _refuse(ws: Workspace, station: Station, why: str, as_of: datetime) -> NoReturn:
    reason = f"Version {station.version} of `{ws.use_case.slug}` from `{station.environment}` is not promoted. {why}"
    refused = PromotionRefused(
        source=station.environment, version=station.version, model=station.trained.model, reason=reason
    )

    def decision(entries: tuple[Entry, ...]) -> Record | None:
        return None if refused in fold(entries).promotions_refused else refused

    ws.journal.decide(decision, as_of)
    raise NotPromotable(reason)
