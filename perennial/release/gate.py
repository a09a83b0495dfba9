"""Whether a challenger may serve: a pure decision on scores of the same rows.

It reads nothing, fits nothing and releases nothing; `judging` gathers its evidence and records its verdict.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from perennial.errors import Permanent
from perennial.model.metrics import METRICS, Metric, Scores, interval, paired_difference
from perennial.periods import Window
from perennial.records import Answer, Interval, Verdict
from perennial.release.checks import Check, bad, doubt, good, verdict_of
from perennial.use_case import Gate, Slices

Against = Literal["champion", "baseline"]
Rows = NDArray[np.intp]
_LISTED = 10


class SnapshotMismatch(Permanent):
    """Two models were scored on different rows, so a comparison would say nothing."""


@dataclass(frozen=True)
class Case:
    """Challenger and opponent on the same rows, and what they are judged by."""

    challenger: Scores
    opponent: Scores
    against: Against
    metric: Metric
    gate: Gate
    seed: int

    def reaches(self, value: float, bound: float) -> bool:
        """Say whether a value is as good as a bound, or better."""
        return value >= bound if self.metric.higher_is_better else value <= bound

    def loss(self, before: float, after: float) -> float:
        """Return by how much a value has become worse."""
        return before - after if self.metric.higher_is_better else after - before


def judge(
    challenger: Scores,
    opponent: Scores,
    *,
    against: Against,
    gate: Gate,
    metric: str,
    evidence: Sequence[Verdict] = (),
    seed: int = 0,
) -> Verdict:
    """Say whether a challenger may replace the champion, and why.

    The challenger has to reach the gate's floor, and to beat its opponent by more than `gate.margin` on the same
    rows with the whole paired-bootstrap interval (Efron and Tibshirani 1993, ch. 13 and 16), so that noise alone
    never changes the model in production. The opponent is the champion, and before the first the baseline. A
    doubt about the evidence is never a PASS: only what was shown to be better advances.

    Args:
        challenger: One score per holdout row, shape (n,); probabilities in [0, 1] for a binary task.
        opponent: Scores of the serving version on the same rows, or before the first of the baseline.
        against: Which of the two it is. Only a champion's slices limit the loss in a slice.
        gate: Floor, margin, slices and minimum rows declared by the use case.
        metric: Name of the primary metric.
        evidence: What was found out about the rows themselves: the leakage audit, `audit_windows`.
        seed: Of the bootstrap.

    Returns:
        FAIL if anything fails, else INCONCLUSIVE if anything could not be shown, else PASS; all reasons, the
        decisive ones first, and the numbers behind them.

    Raises:
        SnapshotMismatch: The models were scored on different rows.
    """
    case = Case(challenger, opponent, against, METRICS[metric], gate, seed)
    _require_same_rows(case)
    checks = [*_on_scores(case), *_on_rows(case)]
    if not checks:
        checks = [*_on_gain(case), *_on_floor(case), *_on_slices(case)]
    return verdict_of([*checks, *_on_evidence(evidence)])


def audit_windows(holdout: Window, fitted: Mapping[str, Sequence[Window]]) -> Verdict:
    """Say whether all models were fitted before the holdout begins, so that none has seen its answers.

    Args:
        holdout: Where the models are compared.
        fitted: By name of the model, the windows that it was fitted or tuned on; none if nobody knows.
    """
    checks = []
    for name, windows in fitted.items():
        end = max((window.end for window in windows), default=None)
        if end is None:
            checks.append(doubt(f"It is not known which rows the {name} was fitted on."))
        elif end > holdout.start:
            checks.append(
                doubt(f"The {name} was fitted on rows up to {end:%F}, but the holdout begins on {holdout.start:%F}.")
            )
    return verdict_of(checks or [good("All models were fitted on rows from before the holdout.")])


def _require_same_rows(case: Case) -> None:
    ours, theirs = case.challenger, case.opponent
    lengths = {len(one) for one in (ours.y, ours.score, theirs.y, theirs.score)}
    if ours.rows != theirs.rows or len(lengths) > 1 or not np.array_equal(ours.y, theirs.y, equal_nan=True):
        raise SnapshotMismatch(
            f"The challenger was scored on {len(ours.score)} rows `{ours.rows[:12]}`, the {case.against} on "
            f"{len(theirs.score)} rows `{theirs.rows[:12]}`, or with other labels. Score both on one snapshot and "
            "judge again."
        )


def _on_scores(case: Case) -> Iterator[Check]:
    score = case.challenger.score
    strange = int(np.sum(~np.isfinite(score)))
    outside = int(np.sum((score < 0) | (score > 1))) if case.metric.task == "binary" else 0
    if strange:
        yield bad(f"{strange} of {len(score)} scores of the challenger are not finite numbers.")
    if outside:
        yield bad(f"{outside} of {len(score)} scores of the challenger are no probabilities: they leave [0, 1].")
    if not np.isfinite(case.opponent.score).all():
        yield doubt(f"Not all scores of the {case.against} are finite numbers, so there is nothing to compare with.")


def _on_rows(case: Case) -> Iterator[Check]:
    y, least = case.challenger.y, case.gate.min_rows
    if len(y) < least:
        yield doubt(f"The holdout has {len(y)} labelled rows, too few to judge (`gate.min_rows` is {least}).")
    if not np.isfinite(y).all():
        yield doubt("Not all labels of the holdout are finite numbers.")
    elif case.metric.task == "binary" and set(np.unique(y)) != {0, 1}:
        found = ", ".join(f"{one:g}" for one in np.unique(y))
        yield doubt(f"The labels of the holdout are {found or 'missing'}; both 0 and 1 are needed to judge.")


def _on_gain(case: Case) -> Iterator[Check]:
    gate, name = case.gate, case.metric.name
    found = paired_difference(
        name,
        case.challenger.y,
        case.challenger.score,
        case.opponent.score,
        resamples=gate.resamples,
        confidence=gate.confidence,
        seed=case.seed,
    )
    numbers = {"margin": gate.margin} | _numbers("gain", found)
    said = f"The gain over the {case.against} in `{name}` is {_shown(found, gate)} on {found.rows} rows"
    if found.low is None or found.high is None:
        yield doubt(f"The gain over the {case.against} in `{name}` is undefined.", **numbers)
    elif found.low > gate.margin:
        yield good(f"{said}, all above the margin of {gate.margin:g}.", **numbers)
    elif found.high < gate.margin:
        yield bad(f"{said}, all below the margin of {gate.margin:g}.", **numbers)
    else:
        yield doubt(f"{said}, not clearly above the margin of {gate.margin:g}.", **numbers)


def _on_floor(case: Case) -> Iterator[Check]:
    gate, name = case.gate, case.metric.name
    found = interval(
        name,
        case.challenger.y,
        case.challenger.score,
        resamples=gate.resamples,
        confidence=gate.confidence,
        seed=case.seed,
    )
    numbers = {"floor": gate.floor} | _numbers("value", found)
    bound = f"the {'floor' if case.metric.higher_is_better else 'ceiling'} of {gate.floor:g}"
    said = f"`{name}` of the challenger is {_shown(found, gate)}"
    if found.value is None:
        yield bad(f"`{name}` of the challenger is not a finite number.", **numbers)
    elif not case.reaches(found.value, gate.floor):
        yield bad(f"{said}, short of {bound}.", **numbers)
    elif gate.suspicious is not None and case.reaches(found.value, gate.suspicious):
        yield doubt(f"{said}, too good to be true at {gate.suspicious:g} (`gate.suspicious`): is it a leak?", **numbers)
    else:
        yield good(f"{said}, within {bound}.", **numbers)


def _on_slices(case: Case) -> Iterator[Check]:
    slices = case.gate.slices
    if slices is None:
        return
    for column in slices.columns:
        if column in case.challenger.slices:
            yield from _on_column(column, slices, case)
        else:
            yield doubt(f"`gate.slices` names `{column}`, which is no categorical feature of the holdout.")


def _on_column(column: str, slices: Slices, case: Case) -> Iterator[Check]:
    texts = case.challenger.slices[column].astype(str)
    parts = {text: np.flatnonzero(texts == text) for text in np.unique(texts)}
    small = [f"`{text}` ({len(rows)})" for text, rows in parts.items() if len(rows) < slices.min_rows]
    judged = [
        _on_slice(f"`{column}` = `{text}`", rows, slices, case)
        for text, rows in parts.items()
        if len(rows) >= slices.min_rows
    ]
    held = [one for one in judged if one.answer is Answer.PASS]
    yield from (one for one in judged if one.answer is not Answer.PASS)
    if judged:
        numbers = {name: value for one in held for name, value in one.numbers.items()}
        yield good(f"{len(held)} of {len(judged)} slices of `{column}` hold up.", **numbers)
    if small:
        yield good(f"Not judged, with fewer than {slices.min_rows} rows, of `{column}`: {_listed(small)}.")


def _on_slice(where: str, rows: Rows, slices: Slices, case: Case) -> Check:
    value, before = (
        case.metric.value(scores.y[rows], scores.score[rows]) for scores in (case.challenger, case.opponent)
    )
    numbers = {f"value where {where}": value, f"{case.against} where {where}": before}
    said = f"Where {where} ({len(rows)} rows), `{case.metric.name}`"
    if value is None or before is None:
        return doubt(f"{said} is undefined.", **numbers)
    if slices.floor is not None and not case.reaches(value, slices.floor):
        return bad(f"{said} is {value:.4g}, short of `gate.slices.floor` {slices.floor:g}.", **numbers)
    if case.against == "champion" and case.loss(before, value) > slices.max_loss:
        return bad(f"{said} is {value:.4g} after {before:.4g}, a loss of more than {slices.max_loss:g}.", **numbers)
    return good(f"{said} is {value:.4g}.", **numbers)


def _on_evidence(evidence: Sequence[Verdict]) -> Iterator[Check]:
    for verdict in evidence:
        for reason in verdict.reasons or ("The evidence was judged without a reason.",):
            yield Check(verdict.answer, reason, verdict.numbers)


def _numbers(name: str, found: Interval) -> dict[str, float | None]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _shown(found: Interval, gate: Gate) -> str:
    if found.value is None or found.low is None or found.high is None:
        return f"{found.value}"
    return f"{found.value:.4g} ({found.low:.4g} to {found.high:.4g} at {gate.confidence:.0%})"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
