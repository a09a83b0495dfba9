"""The picture of one measurement as one HTML file that needs no network; the only module that imports Evidently.

It draws samples and repeats numbers that were measured on all rows; it measures nothing itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import floor
from threading import Lock
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from perennial.records import Finding, Interval

if TYPE_CHECKING:
    import pandas as pd

_ONE_AT_A_TIME = Lock()
_TIME, _LABEL = "event_time", "label"
_LISTED_CATEGORIES = 30
_BINS = 20
"""Bins that the numbers of a column must have room for: Evidently draws 10, and takes up to 15 for the label."""
_LONGEST_TEXT = 60
_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "&": "＆", "\\": "＼"})  # noqa: RUF001
_NO_NETWORK = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; font-src data:; img-src data: blob:\">"
)
_EMPTY_PAGE = f"<!DOCTYPE html><html lang='en'><head>{_NO_NETWORK}<meta charset='utf-8'></head>"
_STYLE = """
<style>
.perennial { font: 15px/1.5 Roboto, Helvetica, Arial, sans-serif; max-width: 1300px; margin: 24px auto 0;
  padding: 0 24px }
.perennial h1 { font-size: 26px; font-weight: 500; margin: 0 }
.perennial h2 { font-size: 19px; font-weight: 500; margin: 24px 0 8px }
.perennial table { border-collapse: collapse }
.perennial td, .perennial th { padding: 3px 24px 3px 0; text-align: left }
.perennial td.n, .perennial th.n { text-align: right; font-variant-numeric: tabular-nums }
.perennial li { margin: 0 0 10px } .perennial ul { padding-left: 18px; margin: 0 }
.perennial b { font-weight: 600 } .perennial .alert { color: #d32f2f } .perennial .warning { color: #b26a00 }
.perennial .dim { opacity: .7 }
</style>
"""


@dataclass(frozen=True)
class Picture:
    """What a report shows."""

    title: str
    facts: tuple[str, ...]
    """One sentence each: what was measured, when, on how many rows."""
    performance: Mapping[str, Interval]
    holdout: Mapping[str, Interval]
    findings: Sequence[Finding]
    drift: Mapping[str, float | None]
    """Population stability index of each column to show, measured on all rows."""
    drifted: frozenset[str]
    """Those that count as drifted."""
    categorical: frozenset[str]
    reference: pa.Table
    """Sample of the rows that the model was judged on, with `event_time`."""
    current: pa.Table
    """Sample of the rows of the period, with `event_time`."""


def draw(picture: Picture) -> str:
    """Return a page: facts, performance and findings in words, then Evidently's table of distributions.

    Evidently 0.7 raises on columns without values, on samples of fewer than two rows and on large numbers whose
    differences a double cannot tell, silently drops columns that one side lacks, and writes texts unescaped into a
    script. So such columns are left out here and named on the page, and texts lose the characters that HTML gives a
    meaning. It correlates constant columns, too, of which NumPy would warn the terminal. The drift that its table
    shows is ours, but for the label, whose drift is only known on the sample.
    """
    import numpy as np

    before, now = (_frame(one, picture) for one in (picture.reference, picture.current))
    shown = [name for name in (*picture.drift, _LABEL) if _can_be_drawn(name, before, now)]
    left_out = [name for name in picture.drift if name not in shown]
    words = _words(picture, left_out)
    if not shown:
        return f"{_EMPTY_PAGE}<body>{words}</body></html>"
    _share_categories([name for name in shown if name in picture.categorical], before, now)
    with _ONE_AT_A_TIME, np.errstate(divide="ignore", invalid="ignore"):
        page = _evidently_page(picture, shown, before, now)
    return page.replace("<head>", f"<head>{_NO_NETWORK}", 1).replace("<body>", f"<body>{words}", 1)


def _evidently_page(picture: Picture, shown: Sequence[str], before: "pd.DataFrame", now: "pd.DataFrame") -> str:
    from evidently import ColumnType, DataDefinition, Dataset, Report
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.presets import DataDriftPreset

    safe = {name: plain(name) for name in shown}
    measured = {safe[name]: (picture.drift.get(name), name in picture.drifted) for name in shown}

    def look_up(_before: "pd.Series[Any]", now: "pd.Series[Any]", _type: str, _limit: float) -> tuple[Any, bool]:
        return measured[str(now.name)]

    class DriftTable(DataDriftPreset):  # type: ignore[misc]
        """The preset without a metric per column, which its table repeats: half the time."""

        def generate_metrics(self, context: Any) -> Sequence[Any]:
            return list(super().generate_metrics(context))[:1]

    every_type = [ColumnType.Numerical, ColumnType.Categorical]
    index = StatTest("perennial_psi", "PSI, all rows", allowed_feature_types=every_type)
    register_stattest(index, look_up)
    columns = DataDefinition(
        timestamp=_TIME,
        numerical_columns=[safe[name] for name in shown if name not in picture.categorical],
        categorical_columns=[safe[name] for name in shown if name in picture.categorical],
    )
    table = DriftTable(
        columns=list(measured),
        method=index,
        per_column_method={_LABEL: "psi"},
        drift_share=floor(1000 / len(shown)) / 1000,
    )
    sides = (Dataset.from_pandas(side[[*shown, _TIME]].rename(columns=safe), columns) for side in (now, before))
    return str(Report([table], include_tests=False).run(*sides).get_html_str(as_iframe=False))


def _words(picture: Picture, left_out: Sequence[str]) -> str:
    parts = [f"<h1>{escape(picture.title)}</h1>", *(f"<div>{escape(fact)}</div>" for fact in picture.facts)]
    if picture.performance:
        parts += ["<h2>Performance</h2>", _performance_table(picture)]
    parts += ["<h2>Findings</h2>", _findings_list(picture.findings), "<h2>Distributions</h2>"]
    parts.append(
        f"<div>Drawn from samples: {picture.current.num_rows:,} rows of this period, "
        f"{picture.reference.num_rows:,} that the model was judged on. The drift score is that of all rows "
        "against those that it was fitted on.</div>"
    )
    if left_out:
        names = ", ".join(escape(name) for name in left_out)
        parts.append(
            "<div>Not drawn, because one side has too large and too similar numbers, or no values of them: "
            f"<b>{names}</b>.</div>"
        )
    return f"{_STYLE}<section class='perennial'>{''.join(parts)}</section>"


def _performance_table(picture: Picture) -> str:
    rows = [
        f"<tr><td>{escape(name)}</td><td class='n'>{_with_interval(now)}</td>"
        f"<td class='n'>{_with_interval(picture.holdout.get(name))}</td><td class='n'>{now.rows:,}</td></tr>"
        for name, now in picture.performance.items()
    ]
    head = "<tr><th>metric</th><th class='n'>this period</th><th class='n'>holdout</th><th class='n'>labels</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _with_interval(one: Interval | None) -> str:
    if one is None or one.value is None:
        return "unknown"
    ends = "" if one.low is None or one.high is None else f" <span class='dim'>({one.low:.4g} to {one.high:.4g})</span>"
    return f"{one.value:.4g}{ends}"


def _findings_list(findings: Sequence[Finding]) -> str:
    items = [
        f"<li><b class='{one.level}'>{one.level} · {escape(one.category)}</b> {escape(one.summary)} "
        f"<span class='dim'>{escape(one.detail)} {escape(one.resolution)}</span></li>"
        for one in findings
    ]
    return f"<ul>{''.join(items)}</ul>" if items else "<div>None.</div>"


def _frame(rows: pa.Table, picture: Picture) -> "pd.DataFrame":
    import numpy as np

    named = [name for name in (_TIME, *picture.drift, _LABEL) if name in rows.column_names]
    frame: pd.DataFrame = rows.select(named).to_pandas()
    for name in named:
        if name in picture.categorical:
            frame[name] = frame[name].astype(object).map(_as_text, na_action="ignore").astype(object)
        elif name == _TIME:
            frame[name] = frame[name].dt.tz_localize(None)
        else:
            frame[name] = frame[name].astype("float64").replace([np.inf, -np.inf], np.nan)
    return frame


def _as_text(value: object) -> str:
    return plain(value if isinstance(value, str) else f"{value:g}")


def _can_be_drawn(name: str, *sides: "pd.DataFrame") -> bool:
    return all(name in side and side[name].count() >= 2 and _has_bins(side[name].dropna()) for side in sides)


def _has_bins(values: "pd.Series[Any]") -> bool:
    import numpy as np

    try:
        return values.dtype == object or len(np.histogram_bin_edges(values, _BINS)) > _BINS
    except ValueError:
        return False


def _share_categories(names: Sequence[str], *sides: "pd.DataFrame") -> None:
    import pandas as pd

    for name in names:
        both = pd.concat([side[name] for side in sides]).value_counts()
        kept = set(both.index[:_LISTED_CATEGORIES])
        for side in sides:
            texts = side[name]
            side[name] = texts.where(texts.isin(kept) | texts.isna(), "(all others)").fillna("(missing)")


def plain(text: str) -> str:
    """Return a text without characters that mean something in HTML or a script, and not too long for a plot."""
    kept = "".join(one if one.isprintable() else " " for one in text.translate(_LOOKALIKES))
    return kept if len(kept) <= _LONGEST_TEXT else f"{kept[: _LONGEST_TEXT - 1]}…"
