"""The text of the two files of a new use case, commented and ready to be changed by hand, and what to do next."""

from collections.abc import Iterator
from datetime import timedelta
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.text import Text

from perennial.data.engine import quote
from perennial.periods import Every, format_duration
from perennial.settings import Settings

if TYPE_CHECKING:
    from cli.inference import Found
    from cli.scaffold import Draft


def use_case_text(draft: "Draft") -> str:
    """Write `use_case.yaml`."""
    delay = format_duration(draft.label_after)
    return f"""\
# What Perennial knows of this model. `perennial check {draft.slug}` tells whether the file is right.
title: {draft.slug.replace("-", " ").capitalize()}
task: {draft.task}
every: {draft.every.value}              # length of a period: of deliveries, scoring and monitoring
starts: {_scalar(draft.starts.label)}
entity: rows             # each row of this source is predicted

sources:
  rows:
    read: {{csv: {_scalar(draft.csv)}}}   # or a glob, a URL, parquet, sql; {{period}} stands for the period
    key: [{", ".join(map(_scalar, draft.key))}]
    event_time: {_scalar(draft.event_time)}
    columns:             # a row that breaks them goes to quarantine; add min, max, values, pattern
{_columns(draft)}
    tolerance: 0.05      # share of rows in quarantine above which a delivery is refused whole

label:
  source: rows
  value: {_scalar(draft.label_sql)}
  known_after: {delay}        # how long after {draft.event_time} the outcome is known
  matures_after: {delay}      # and by when nearly all are; trainings end and performance begins there

{_judgement(draft)}"""


def features_text(draft: "Draft") -> str:
    """Write `features.sql`."""
    chosen = [f"  o.{quote(name)}," for name in draft.key]
    chosen += ["  o.event_time,"]
    chosen += [f"  o.{quote(one.name)}," for one in draft.features]
    chosen += ["  extract('hour' FROM o.event_time) AS hour_of_day"]
    if draft.every is not Every.DAY:
        chosen[-1] += ","
        chosen += ["  extract('isodow' FROM o.event_time) AS day_of_week"]
    left = [f"-- Left out: {one.name} ({_why(one)})." for one in draft.left_out]
    return "\n".join(
        [
            "-- One row per observation: its key, event_time, then the features. Texts are categories.",
            "-- Remove every column that is not known yet at event_time: it would leak the answer.",
            "-- Earlier outcomes are in the view `labels`; ask only for those with known_at < o.event_time.",
            *left,
            "SELECT",
            *chosen,
            "FROM observations o",
            "",
        ]
    )


def summary(draft: "Draft", settings: Settings) -> dict[str, Any]:
    """Return what was written and found, for machines."""
    return {
        "use_case": draft.slug,
        "folder": str(Path(settings.use_cases) / draft.slug),
        "task": draft.task,
        "label": draft.label_sql,
        "rows": draft.rows,
        "every": draft.every.value,
        "starts": draft.starts.label,
        "periods": draft.periods,
        "features": [one.name for one in draft.features],
        "left_out": [one.name for one in draft.left_out],
        "misfits": {one.name: one.misfits for one in draft.misfits},
    }


def next_steps(draft: "Draft", settings: Settings) -> Text:
    """Say what was written and found, and what to do with it."""
    left = ", ".join(f"{one.name} ({_why(one)})" for one in draft.left_out)
    features = ", ".join(one.name for one in draft.features)
    return Text.assemble(
        ("Wrote ", "bold green"),
        f"{Path(settings.use_cases) / draft.slug} with use_case.yaml and features.sql\n\n",
        f"  {draft.rows:,} rows in {_counted(draft.periods, draft.every.value)} from {draft.starts}; ",
        f"{draft.task} label {draft.label_sql}\n  features: {features}\n",
        f"  left out: {left}\n" if left else "",
        *((f"  {one}\n", "yellow") for one in _warnings(draft)),
        "\nNext\n",
        "  1. Read features.sql: remove what is not known yet when a prediction is made.\n",
        f"  2. perennial check {draft.slug}\n",
        f"  3. perennial backfill {draft.slug} --periods {draft.periods}\n",
        f"  4. perennial status {draft.slug}",
    )


def _warnings(draft: "Draft") -> Iterator[str]:
    for one in draft.misfits:
        yield (
            f"{one.name} is no {one.type} in {one.misfits:,} of {draft.rows:,} rows, which go to quarantine: "
            f"{one.first_misfit}. If it was meant to be text, change its type in use_case.yaml to string."
        )
    if draft.sizes.first_model > draft.span:
        days, needed = (ceil(one / timedelta(days=1)) for one in (draft.span, draft.sizes.first_model))
        yield (
            f"Data of {_counted(days, 'day')} are too few for a first model, which needs about {needed}: "
            f"labels are known after {format_duration(draft.label_after)}, and those of the newest rows are missing."
        )


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _columns(draft: "Draft") -> str:
    return "\n".join(_column(one) for one in draft.columns)


def _column(column: "Found") -> str:
    nullable = ", nullable: true" if column.nullable else ""
    seen = "" if column.low is None or column.high is None else f"   # seen: {column.low:g} to {column.high:g}"
    return f"      {_scalar(column.name)}: {{type: {column.type}{nullable}}}{seen}"


def _judgement(draft: "Draft") -> str:
    sizes, binary = draft.sizes, draft.task == "binary"
    baseline, linear = ("majority", "logistic_regression") if binary else ("mean", "ridge")
    metrics = "{primary: roc_auc, also: [log_loss]}" if binary else "{primary: rmse, also: [mae]}"
    floor = "0.55       # every model must reach it" if binary else f"{draft.ceiling:g}     # no model may be worse"
    return f"""\
metrics: {metrics}

training:                # windows are counted back from the moment of training
  validation: {format_duration(sizes.validation)}       # its labels must be known before the holdout begins
  holdout: {format_duration(sizes.holdout)}
  min_rows: {sizes.min_rows}
  candidates:            # the first is the baseline
    baseline: {{estimator: {baseline}}}
    linear: {{estimator: {linear}}}
    xgboost: {{estimator: xgboost, params: {{rounds: 200, early_stopping_rounds: 20, max_depth: 4}}}}

gate:                    # what a challenger must prove before it may serve
  floor: {floor}
  min_rows: {sizes.gate_rows}

monitoring:
  min_labels: {sizes.min_labels}       # performance of a period stays unknown below

retraining:
  max_age: {"90d" if draft.every.value != "day" else "14d"}
  cooldown: {"25d" if draft.every.value != "day" else "3d"}
"""


def _why(column: "Found") -> str:
    if column.distinct <= 1:
        return "one value only"
    return "a time; compare it with event_time" if column.type == "timestamp" else f"{column.distinct} different texts"


def _scalar(text: str) -> str:
    return yaml.safe_dump(text, width=10_000, allow_unicode=True).removesuffix("\n").removesuffix("...").strip()
