"""The gate's evidence, gathered and put before it: challenger, champion and baseline scored on the same rows.

It decides nothing itself, and releases nothing.
"""

from collections.abc import Sequence
from datetime import datetime

from perennial.errors import Permanent
from perennial.model.training import holdout_scores
from perennial.periods import Window
from perennial.records import Judged, Released, Trained
from perennial.release.gate import audit_windows, judge
from perennial.state import State, fold
from perennial.workspace import Workspace


class NotRegistered(Permanent):
    """The model has no version yet, so a verdict could not be found again."""


def judge_challenger(ws: Workspace, trained: Trained, as_of: datetime) -> Judged:
    """Ask the gate whether a trained model may replace the champion, once per opponent and declared gate.

    The opponent is the champion of the moment, or the training's baseline while there is none. Both are scored on
    the challenger's holdout, with the labels known at `as_of`. A champion that was fitted on rows of that holdout
    makes the verdict INCONCLUSIVE, because it would know the answers. For a model that has become champion since,
    the verdict that made it so is returned.

    Raises:
        NotRegistered: The model has no version in the registry.
        FeatureGone: The champion needs a feature that the query no longer gives.
        InvalidModel: An artifact is not what its training wrote.
    """
    champion = fold(ws.journal.entries(), as_of).champion
    done = _found(ws, ws.state(), trained, champion)
    if done is not None:
        return done
    judged = _judge(ws, trained, champion, as_of)
    return ws.journal.find_or_append(
        lambda entries: _found(ws, fold(entries), trained, champion), lambda _: judged, as_of
    )


def _judge(ws: Workspace, trained: Trained, champion: Released | None, as_of: datetime) -> Judged:
    state = ws.state()
    if trained.model not in state.registered:
        raise NotRegistered(
            f"The model `{trained.model[:12]}` of `{ws.use_case.slug}` has no version yet. Register it first."
        )
    opponent = champion.model if champion else trained.baseline
    windows = audit_windows(trained.holdout, _fitted_windows(state, trained, champion))
    verdict = judge(
        holdout_scores(ws, trained, trained.model, as_of),
        holdout_scores(ws, trained, opponent, as_of),
        against="champion" if champion else "baseline",
        gate=ws.use_case.gate,
        metric=ws.use_case.metrics.primary,
        evidence=(trained.audit, windows),
        seed=trained.seed,
    )
    return Judged(
        model=trained.model,
        version=state.registered[trained.model].version,
        against=opponent,
        against_version=champion.version if champion else None,
        gate=ws.use_case.gate_digest,
        verdict=verdict,
    )


def _found(ws: Workspace, state: State, trained: Trained, champion: Released | None) -> Judged | None:
    verdicts = state.verdicts_on(trained.model)
    if champion is None or champion.model != trained.model:
        wanted = (champion.version if champion else None, ws.use_case.gate_digest)
        verdicts = [one for one in verdicts if (one.against_version, one.gate) == wanted]
    return verdicts[-1] if verdicts else None


def _fitted_windows(state: State, trained: Trained, champion: Released | None) -> dict[str, Sequence[Window]]:
    windows: dict[str, Sequence[Window]] = {"challenger": (trained.fit, trained.validation)}
    if champion is not None:
        training = state.training_of(champion.model)
        windows["champion"] = (training.fit, training.validation) if training else ()
    return windows
