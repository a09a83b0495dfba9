"""The model card: what a model is, was made of, can do and cannot, as Markdown; it computes nothing.

After Mitchell et al. 2019, "Model Cards for Model Reporting", kept to what is recorded.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from perennial.periods import Window, format_duration
from perennial.records import CandidateFit, Interval, Trained
from perennial.use_case import Gate, UseCase


@dataclass(frozen=True)
class Slice:
    """The primary metric on the rows of the holdout that have one value of a column."""

    column: str
    value: str
    metric: Interval


def summary(use_case: UseCase, trained: Trained) -> str:
    """Return what there is to know at first sight, for the description of a registered version."""
    kept = next(one for one in trained.candidates if one.name == trained.candidate)
    primary = use_case.metrics.primary
    return (
        f"`{kept.estimator}` (candidate `{kept.name}`), fitted on {trained.fit_rows:,} rows of {_span(trained.fit)}. "
        f"On the holdout of {trained.holdout_rows:,} rows of {_span(trained.holdout)}: "
        f"{primary} {_number(kept.metrics.get(primary))}."
    )


def model_card(use_case: UseCase, trained: Trained, slices: Sequence[Slice], as_of: datetime, uri: str) -> str:
    """Write the card.

    Args:
        use_case: What was declared.
        trained: What came of it.
        slices: Large enough parts of the holdout.
        as_of: Moment of the registration, UTC.
        uri: Address of the registry, without credentials.
    """
    parts = (
        f"# {_text(use_case.title)}",
        _text(use_case.description),
        summary(use_case, trained),
        _purpose(use_case),
        "## Data",
        _windows(trained),
        "## Candidates, on the holdout",
        _candidates(use_case, trained),
        "Brackets are bootstrap intervals. The first declared candidate is the baseline. The bold one was kept, "
        "for the best value on the validation window.",
        "## Slices",
        _slices(use_case, slices),
        "## What it had to prove",
        _gate(use_case.gate, use_case.metrics.primary),
        "## Where it comes from",
        _provenance(trained, as_of),
        "## Use it",
        _loading(use_case.slug, uri),
        "## Limits",
        _limits(use_case, trained),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def slices_csv(slices: Iterable[Slice]) -> str:
    """Return the slices as CSV, for whoever wants to compute with them."""
    lines = ["column,value,rows,metric,low,high"]
    for one in slices:
        numbers = (one.metric.value, one.metric.low, one.metric.high)
        shown = ("" if number is None else repr(number) for number in numbers)
        lines.append(",".join((_quoted(one.column), _quoted(one.value), str(one.metric.rows), *shown)))
    return "\n".join(lines) + "\n"


def _purpose(use_case: UseCase) -> str:
    of = "the probability of" if use_case.task == "binary" else "the value of"
    return (
        f"It predicts {of} `{_text(use_case.label.value)}` (from `{use_case.label.source}`) for each row of "
        f"`{use_case.entity}`, with what is known at its `{use_case.event_time}`."
    )


def _windows(trained: Trained) -> str:
    return _table(
        ("window", "from", "up to", "rows"),
        (
            (name, f"{window.start:%Y-%m-%d %H:%M}", f"{window.end:%Y-%m-%d %H:%M}", f"{rows:,}")
            for name, window, rows in (
                ("fit", trained.fit, trained.fit_rows),
                ("validation", trained.validation, trained.validation_rows),
                ("holdout", trained.holdout, trained.holdout_rows),
            )
        ),
    )


def _candidates(use_case: UseCase, trained: Trained) -> str:
    names = dict.fromkeys((use_case.metrics.primary, *use_case.metrics.also))

    def row(one: CandidateFit) -> tuple[str, ...]:
        name = f"**{one.name}**" if one.name == trained.candidate else one.name
        return (name, one.estimator, str(one.trials), *(_number(one.metrics.get(metric)) for metric in names))

    return _table(("candidate", "estimator", "trials", *names), map(row, trained.candidates))


def _slices(use_case: UseCase, slices: Sequence[Slice]) -> str:
    if not slices:
        return "No slice was declared, or none has enough rows."
    rows = ((one.column, _cell(one.value), f"{one.metric.rows:,}", _number(one.metric)) for one in slices)
    return _table(("column", "value", "rows", use_case.metrics.primary), rows)


def _gate(gate: Gate, primary: str) -> str:
    lines = [
        f"- {primary} reaches {gate.floor:g} on at least {gate.min_rows:,} rows",
        f"- it beats its opponent on the same rows by more than {gate.margin:g} with the whole "
        f"{gate.confidence:.0%} interval of {gate.resamples:,} resamples",
    ]
    if gate.slices:
        columns = ", ".join(f"`{column}`" for column in gate.slices.columns)
        lines.append(
            f"- on no slice of {columns} with {gate.slices.min_rows:,} rows or more is it worse than the champion "
            f"by more than {gate.slices.max_loss:g}"
        )
    return "\n".join([*lines, "", "The verdict is in the journal and in the tag `perennial.verdict` of the version."])


def _provenance(trained: Trained, as_of: datetime) -> str:
    rows = (
        ("model", trained.model),
        ("declaration", trained.spec),
        ("features query", trained.query),
        ("labels", trained.labels),
        ("features", f"table version {trained.features_version}, {len(trained.snapshots)} snapshots"),
        ("code", trained.code),
        ("lock", trained.lock),
        ("seed", str(trained.seed)),
        ("leakage audit", trained.audit.answer.value),
        ("registered as of", f"{as_of:%Y-%m-%d %H:%M} UTC"),
    )
    return _table(("", ""), ((name, f"`{_cell(value)}`") for name, value in rows))


def _loading(slug: str, uri: str) -> str:
    return (
        "```python\n"
        "import mlflow\n\n"
        f'mlflow.set_tracking_uri("{uri}")\n'
        f'model = mlflow.pyfunc.load_model("models:/{slug}@champion")\n'
        "model.predict(features)  # a pandas frame with the columns of the signature\n"
        "```\n\n"
        "The environment needs the package `perennial` at the code revision above."
    )


def _limits(use_case: UseCase, trained: Trained) -> str:
    return "\n".join(
        (
            f"- It was judged on {_span(trained.holdout)} only; intervals cover the sampling of rows, not what changes "
            "in the world later, nor rows that depend on one another.",
            f"- Labels count as complete {format_duration(use_case.label.matures_after)} after the event; rows without "
            "a label were left out.",
            "- A category that it never saw counts as missing.",
            f"- Slices smaller than {_slice_rows(use_case)} rows say nothing and are not listed.",
        )
    )


def _slice_rows(use_case: UseCase) -> int:
    return use_case.gate.slices.min_rows if use_case.gate.slices else use_case.gate.min_rows


def _span(window: Window) -> str:
    return f"{window.start:%Y-%m-%d} to {window.end:%Y-%m-%d}"


def _number(found: Interval | None) -> str:
    if found is None or found.value is None:
        return "undefined"
    around = f" [{found.low:.4g}, {found.high:.4g}]" if found.low is not None and found.high is not None else ""
    return f"{found.value:.4g}{around}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|").replace("`", "'")


def _text(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;").replace(">", "&gt;")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
