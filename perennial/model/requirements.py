"""What a training needs before it may begin: known names, enough rows, labels that can be learnt.

It only looks and raises; `training` writes the refusal down.
"""

from perennial.errors import Permanent, nearest
from perennial.model.estimators import estimator
from perennial.model.metrics import metric
from perennial.model.plan import Counted, TrainingPlan
from perennial.periods import Window, format_duration
from perennial.use_case import UseCase


class NotEnoughRows(Permanent):
    """A window has too few labelled rows."""


class InvalidLabels(Permanent):
    """Labels are not finite, not 0 or 1, or all the same."""


class UnknownSlice(Permanent):
    """The gate slices by a column that is no categorical feature."""


def check_names(use_case: UseCase) -> None:
    """Look up every metric, estimator and parameter that a declaration names.

    Raises:
        UnknownMetric, UnknownEstimator, UnknownParameter: One of them does not exist.
    """
    for name in (use_case.metrics.primary, *use_case.metrics.also):
        metric(name, use_case.task)
    for candidate in use_case.training.candidates.values():
        searched = dict.fromkeys(candidate.search.space if candidate.search else (), 0)
        estimator(candidate.estimator, use_case.task).complete({**candidate.params, **searched})


def short_validation(use_case: UseCase) -> str | None:
    """Say why no row of the validation window, or hardly one, has a label in time, and what to do; else `None`.

    Where a column tells when a label was known, `label.matures_after` says by when nearly all are.
    """
    label, source = use_case.label, use_case.sources[use_case.label.source]
    is_told = bool(label.known_at or source.known_at)
    late = label.matures_after if is_told else source.known_after + label.known_after
    if late < use_case.training.validation:
        return None
    known, declared = format_duration(late), format_duration(use_case.training.validation)
    otherwise = ", or `label.matures_after` shorter if nearly all are known earlier" if is_told else ""
    return (
        f"Labels of `{use_case.slug}` are known {'up to ' if is_told else ''}{known} after their event, and in the "
        f"validation window only those count that are known when the holdout begins. Make `training.validation` "
        f"({declared}) clearly longer{otherwise}."
    )


def check_rows(use_case: UseCase, plan: TrainingPlan) -> None:
    """Look at the counts of a plan.

    Raises:
        NotEnoughRows: The fit window has fewer rows than `training.min_rows`, or another less than a tenth of it.
        InvalidLabels: Labels cannot be learnt, or the fit window or the holdout has only one value of them.
        UnknownSlice: The gate slices by a column that is no categorical feature.
    """
    least = use_case.training.min_rows
    _check_window(use_case, "fit", plan.fit, plan.fit_rows, least)
    _check_window(use_case, "validation", plan.validation, plan.validation_rows, max(1, least // 10))
    _check_window(use_case, "holdout", plan.holdout, plan.holdout_rows, max(1, least // 10))
    for name in use_case.gate.slices.columns if use_case.gate.slices else ():
        if name not in plan.categorical:
            listed = ", ".join(f"`{one}`" for one in plan.categorical) or "none"
            raise UnknownSlice(
                f"`gate.slices.columns` of `{use_case.slug}` names `{name}`, which is no categorical feature"
                f"{nearest(name, plan.categorical) or '.'} There are {listed}."
            )


def _check_window(use_case: UseCase, name: str, window: Window, counted: Counted, needed: int) -> None:
    days = f" from {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M}"
    what = f"labelled rows in the {name} window{days if window.start < window.end else ', which has no days yet'}"
    if counted.rows < needed:
        raise NotEnoughRows(
            f"`{use_case.slug}` has {counted.rows} {what}, expected at least {needed}. Nothing was trained. "
            f"{_remedy(use_case, name, window)}"
        )
    if counted.invalid:
        expected = "0 or 1" if use_case.task == "binary" else "a finite number"
        raise InvalidLabels(
            f"`{use_case.slug}`: the label is not {expected} in {counted.invalid} of {counted.rows} {what}. Nothing "
            "was trained. Correct `label.value`, which may be NULL for rows that never get a label."
        )
    if counted.low == counted.high and name != "validation":
        raise InvalidLabels(
            f"`{use_case.slug}`: the label is {counted.low:g} in all {counted.rows} {what}, expected at least two "
            "values. Nothing was trained. Check `label.value`, or widen the window until both occur."
        )


def _remedy(use_case: UseCase, name: str, window: Window) -> str:
    """Past labels must be known before the holdout begins, and the newest ones are known last."""
    late, training = use_case.label.known_after, use_case.training
    if window.start == window.end:
        return "The data begin later than that window; ingest more periods."
    if name == "validation" and (short := short_validation(use_case)):
        return short
    if name == "holdout" and late >= use_case.label.matures_after + training.holdout:
        return (
            f"Labels are known {format_duration(late)} after their event, so no row of this window has one yet. Set "
            f"`label.matures_after` ({format_duration(use_case.label.matures_after)}) to {format_duration(late)}."
        )
    return "Ingest more periods, wait for labels, or lower `training.min_rows` or the windows."
