"""Training: every declared candidate is fitted on the same rows, and the best one is kept.

It refuses when the rows are too few or the features leak. Whether the kept model may serve is the gate's decision.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NoReturn

import numpy as np

from perennial.data.engine import Engine, quote
from perennial.data.features import labelled_rows_sql, snapshot_view
from perennial.data.leakage import audit
from perennial.data.views import open_views
from perennial.errors import Permanent, nearest
from perennial.model.artifact import Model, load_model, save_model
from perennial.model.dataset import forget_datasets, load_dataset
from perennial.model.estimators import estimator
from perennial.model.metrics import Scores, intervals, metric
from perennial.model.plan import RECENT, SNAPSHOT, TrainingPlan, digest_rows, make_plan
from perennial.model.reference import reference_of
from perennial.model.requirements import check_names, check_rows
from perennial.model.search import choose
from perennial.periods import Period
from perennial.records import Answer, CandidateFit, Record, Trained, TrainingRefused, Verdict
from perennial.workspace import Workspace

MISSING = "(missing)"
"""Slice of the rows in which the slice column is NULL."""


class LeakageFound(Permanent):
    """Features of the past hold what was not known then."""


class NoUsableCandidate(Permanent):
    """No candidate has a finite metric."""


class UnknownCandidate(Permanent):
    """The use case declares no candidate of that name."""


class FeatureGone(Permanent):
    """A model needs a feature that the query no longer gives."""


def train(ws: Workspace, as_of: datetime) -> Trained:
    """Plan, fit every candidate and keep the best; the same training again is found in the journal.

    Raises:
        Permanent: The training was refused; the journal says why as `training.refused`.
    """
    plan = plan_training(ws, as_of)
    known = _trained(ws, plan.key)
    if known:
        return known
    return keep_best(ws, plan, [fit_candidate(ws, plan, name) for name in ws.use_case.training.candidates], as_of)


def plan_training(ws: Workspace, as_of: datetime) -> TrainingPlan:
    """Fix what a training at `as_of` sees, building the features that are missing.

    Raises:
        NotEnoughRows: The fit window has fewer than `training.min_rows`, or one of the others less than a tenth.
        InvalidLabels: There are labels that cannot be learnt, or of a single value.
        UnknownEstimator, UnknownParameter, UnknownMetric, UnknownSlice: The declaration names what is not there.
    """
    check_names(ws.use_case)
    plan = make_plan(ws, as_of)
    if _trained(ws, plan.key) is None:
        try:
            check_rows(ws.use_case, plan)
        except Permanent as error:
            _refuse(ws, plan, error, as_of)
    return plan


def fit_candidate(ws: Workspace, plan: TrainingPlan, name: str) -> CandidateFit:
    """Fit one candidate, judge it on the holdout and save its artifact.

    Early stopping and search look at the validation window only, so the holdout stays honest for the gate. The
    intervals have the confidence and resamples of the gate.

    Raises:
        UnknownCandidate: The use case declares none of that name.
        FitFailed: The library refused the data or a value of a parameter.
    """
    use_case = ws.use_case
    declared = use_case.training.candidates
    if name not in declared:
        raise UnknownCandidate(f"`{use_case.slug}` declares no candidate `{name}`{nearest(name, declared) or '.'}")
    data = load_dataset(ws, plan)
    kind = estimator(declared[name].estimator, use_case.task)
    primary = metric(use_case.metrics.primary, use_case.task)
    chosen = choose(kind, declared[name], data.sample, primary, plan.seed, ws.settings.threads)
    scores = chosen.fitted.scores(data.x_holdout)
    with Engine(ws.settings) as engine:
        reference = reference_of(engine, data.reference, scores, len(data.sample.y))
    return CandidateFit(
        name=name,
        estimator=kind.name,
        model=save_model(ws.store, Model(kind, data.encoder, chosen.fitted), data.questions, reference),
        parameters=chosen.parameters,
        metrics=intervals(
            list(dict.fromkeys([primary.name, *use_case.metrics.also])),
            data.y_holdout,
            scores,
            resamples=use_case.gate.resamples,
            confidence=use_case.gate.confidence,
            seed=plan.seed,
        ),
        validation=chosen.validation,
        trials=chosen.trials,
    )


def keep_best(ws: Workspace, plan: TrainingPlan, fits: Sequence[CandidateFit], as_of: datetime) -> Trained:
    """Keep the candidate with the best primary metric on the validation window, and record the training.

    The holdout does not choose: the best of several on it would look better than it is, and the gate would
    believe it. Of equals the first declared is kept. Then the features are audited for leaks.

    Raises:
        NoUsableCandidate: Every candidate's metric is undefined on the validation window or the holdout.
        LeakageFound: The audit failed.
    """
    known = _trained(ws, plan.key)
    if known:
        return known
    forget_datasets()
    best = _best(ws, plan, fits, as_of)
    verdict = audit(ws, [Period.parse(label) for label in plan.periods], plan.as_of, seed=plan.seed)
    if verdict.answer is Answer.FAIL:
        _refuse(ws, plan, LeakageFound(_leak(ws, verdict)), as_of)
    declared = list(ws.use_case.training.candidates)
    trained = Trained(
        key=plan.key,
        model=best.model,
        candidate=best.name,
        baseline=next(one.model for one in fits if one.name == declared[0]),
        candidates=tuple(sorted(fits, key=lambda one: declared.index(one.name))),
        fit=plan.fit,
        validation=plan.validation,
        holdout=plan.holdout,
        fit_rows=plan.fit_rows.rows,
        validation_rows=plan.validation_rows.rows,
        holdout_rows=plan.holdout_rows.rows,
        snapshots=plan.snapshots,
        features_version=plan.features_version,
        labels=plan.labels,
        spec=plan.spec,
        query=plan.query,
        code=plan.code,
        lock=plan.lock,
        seed=plan.seed,
        audit=verdict,
    )
    _record_once(ws, trained, lambda known: isinstance(known, Trained) and known.key == trained.key, as_of)
    return _trained(ws, plan.key) or trained


def holdout_scores(ws: Workspace, trained: Trained, model: str, as_of: datetime) -> Scores:
    """Score the holdout of a training by any model, on the labels known at `as_of`.

    Two models of one training and moment are scored on the same rows in the same order, as `rows` says.

    Raises:
        FeatureGone: The model needs a feature that the training's snapshots do not have.
        InvalidModel: The artifact is not what a training wrote.
    """
    loaded = load_model(ws.store, model)
    slices = ws.use_case.gate.slices.columns if ws.use_case.gate.slices else ()
    with Engine(ws.settings) as engine:
        open_views(engine, ws, as_of)
        snapshot_view(engine, ws, trained.snapshots, SNAPSHOT)
        held = set(engine.schema(f"SELECT * FROM {SNAPSHOT}").names)
        gone = [one for one in loaded.encoder.features if one not in held]
        if gone:
            raise FeatureGone(_gone(ws, model, gone))
        engine.keep(RECENT, labelled_rows_sql(engine, ws.use_case, SNAPSHOT, trained.holdout), query=RECENT)
        rows = digest_rows(engine, RECENT, [*ws.use_case.key, "event_time"])
        parts = [f"coalesce(CAST({quote(one)} AS VARCHAR), '{MISSING}') AS {quote('slice:' + one)}" for one in slices]
        relation = f"(SELECT {', '.join(['*', *parts])} FROM {RECENT})"
        table = loaded.score_query(engine, relation, ["label", *(f"slice:{one}" for one in slices)]).read_all()
    return Scores(
        y=table["label"].to_numpy(),
        score=table["score"].to_numpy(),
        slices={one: np.array(table[f"slice:{one}"].to_pylist(), dtype=object) for one in slices},
        rows=rows,
    )


def _best(ws: Workspace, plan: TrainingPlan, fits: Sequence[CandidateFit], as_of: datetime) -> CandidateFit:
    primary = metric(ws.use_case.metrics.primary)
    sign = 1 if primary.higher_is_better else -1
    ranked = [
        (-sign * one.validation, list(ws.use_case.training.candidates).index(one.name), one)
        for one in fits
        if one.validation is not None and one.metrics[primary.name].value is not None
    ]
    if not ranked:
        named = ", ".join(f"`{one.name}`" for one in fits) or "none"
        message = (
            f"`{ws.use_case.slug}`: `{primary.name}` is undefined for every candidate ({named}) on the validation "
            "window or the holdout. Look for labels of a single class, or for scores that are not finite."
        )
        _refuse(ws, plan, NoUsableCandidate(message), as_of)
    return min(ranked)[2]


def _trained(ws: Workspace, key: str) -> Trained | None:
    return next((one for one in ws.state().trained if one.key == key), None)


def _refuse(ws: Workspace, plan: TrainingPlan, error: Permanent, as_of: datetime) -> NoReturn:
    refused = TrainingRefused(key=plan.key, reason=str(error))
    _record_once(ws, refused, lambda known: known == refused, as_of)
    raise error


def _record_once(ws: Workspace, record: Record, is_it: Callable[[Record], bool], as_of: datetime) -> None:
    ws.journal.decide(lambda entries: None if any(is_it(one.record) for one in entries) else record, as_of)


def _leak(ws: Workspace, verdict: Verdict) -> str:
    return (
        f"`{ws.use_case.slug}`: the features hold what was not known at the time: {' '.join(verdict.reasons)} No model "
        f"was kept. Ask only for rows with `known_at < o.event_time` in {ws.use_case.features}."
    )


def _gone(ws: Workspace, model: str, gone: Sequence[str]) -> str:
    return (
        f"The model `{model[:12]}` of `{ws.use_case.slug}` needs the feature `{gone[0]}`, which the snapshots of this "
        f"training lack. Keep it in {ws.use_case.features} until another model has replaced this one."
    )
