"""What was predicted, for people and for other programs: every row as it was written, or what counts today."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.arguments import Env, Json, UseCaseName, choose_environment, open_workspace
from cli.output import show
from perennial.errors import Permanent
from perennial.periods import Period
from perennial.workspace import Workspace

if TYPE_CHECKING:
    from perennial.data.engine import Engine

OfPeriod = Annotated[str | None, typer.Option("--period", help="By event time, as 2013-02; all without it.")]
Corrected = Annotated[
    bool, typer.Option("--corrected", help="Of each id only what counts today: the newest row that was not withdrawn.")
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Write all of it to this .parquet or .csv, replaced if it is there.")
]
_FORMATS = {".parquet": "FORMAT parquet", ".csv": "FORMAT csv, HEADER"}
_FIRST = 10
"""Rows that are shown."""
_ROWS = "predicted"


class NothingPredicted(Permanent):
    """No batch was scored, and no answer was collected."""


class UnknownFormat(Permanent):
    """A file is to be written whose name says no format that is known."""


def predictions(
    use_case: UseCaseName,
    period: OfPeriod = None,
    corrected: Corrected = False,
    out: Out = None,
    env: Env = None,
    as_json: Json = False,
) -> None:
    """Show what was predicted, in batches and online, by which version, or write it to a file."""
    from flows.entry import now
    from perennial.data.engine import Engine, quote_text

    choose_environment(env)
    workspace = open_workspace(use_case)
    chosen = workspace.period(period, now()) if period else None
    how = _format(out) if out else ""
    with Engine(workspace.settings) as engine:
        _open(engine, workspace, chosen, corrected)
        if out:
            engine.execute(f"COPY {_ROWS} TO {quote_text(str(out))} ({how})", name=f"--out {out}")
        found = {"counts": _counts(engine), "first": _first(engine), "file": str(out) if out else None}
    show(found, lambda: _drawn(found), as_json)


def _format(out: Path) -> str:
    if out.suffix not in _FORMATS:
        raise UnknownFormat(f"`{out}` names no format: expected a file that ends with {' or '.join(_FORMATS)}.")
    return _FORMATS[out.suffix]


def _open(engine: "Engine", workspace: Workspace, period: Period | None, corrected: bool) -> None:
    from perennial.data.engine import quote_time
    from perennial.release.predictions import corrected_rows, prediction_rows, written_batches

    batches = written_batches(workspace.journal.entries(), period)
    if not batches:
        slug = workspace.use_case.slug
        of_period = f" of `{period}`" if period else ""
        raise NothingPredicted(f"`{slug}` predicted nothing{of_period} yet. Begin with `perennial pipeline {slug}`.")
    (corrected_rows if corrected else prediction_rows)(engine, workspace, batches, "every")
    within = f"event_time >= {quote_time(period.start)} AND event_time < {quote_time(period.end)}" if period else "TRUE"
    engine.view(_ROWS, f"SELECT * FROM every WHERE {within}")


def _counts(engine: "Engine") -> list[dict[str, Any]]:
    columns = "release, model_version AS version, count(*) AS rows"
    return list(engine.table(f"SELECT {columns} FROM {_ROWS} GROUP BY ALL ORDER BY ALL").to_pylist())


def _first(engine: "Engine") -> list[dict[str, Any]]:
    columns = "prediction_id, event_time, release, model_version AS version, score"
    rows = engine.table(f"SELECT {columns} FROM {_ROWS} ORDER BY event_time, prediction_id LIMIT {_FIRST}")
    return list(rows.to_pylist())


def _drawn(found: dict[str, Any]) -> RenderableType:
    counts = _table(["release", "version", "rows"])
    for one in found["counts"]:
        counts.add_row(str(one["release"]), str(one["version"]), f"{one['rows']:,}")
    total = sum(one["rows"] for one in found["counts"])
    if found["file"]:
        return Group(counts, "", Text(f"{total:,} rows are in {found['file']}.", style="green"))
    if not total:
        return "[yellow]No row of what was predicted counts.[/]"
    rows = _table(["prediction_id", "event_time", "version", "score"])
    for one in found["first"]:
        at, score = f"{one['event_time']:%F %R}", f"{one['score']:.4f}"
        rows.add_row(Text(one["prediction_id"]), at, str(one["version"]), score)
    return Group(counts, "", rows, f"[dim]The first {len(found['first'])} of {total:,} rows; --out writes all.[/]")


def _table(columns: list[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name in ("rows", "score") else "left")
    return table
