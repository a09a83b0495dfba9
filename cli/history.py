"""The journal in words: what happened, in order, and what served when, and why."""

from collections.abc import Iterable
from datetime import datetime
from functools import singledispatch

from rich.console import Group, RenderableType
from rich.table import Table

from cli.story import tell
from perennial.records import (
    AnswersCollected,
    Entry,
    FeaturesBuilt,
    Received,
    Registered,
    Released,
    RetrainingClaimed,
    RetrainingEnded,
)
from perennial.workspace import Workspace


def entries_until(workspace: Workspace, as_of: datetime | None) -> list[Entry]:
    """Return the entries that were decided up to a moment, all without one."""
    return [one for one in workspace.journal.entries() if as_of is None or one.at <= as_of]


def reigns(entries: Iterable[Entry]) -> list[dict[str, object]]:
    """Return one row per release: which version served from when until when, and why it was released."""
    released = [(one.at, one.record) for one in entries if isinstance(one.record, Released)]
    ends = [*(at for at, _ in released[1:]), None]
    return [
        {
            "release": record.number,
            "version": record.version,
            "since": at.isoformat(),
            "until": end.isoformat() if end else None,
            "why": record.reason,
        }
        for (at, record), end in zip(released, ends, strict=False)
    ]


def draw(workspace: Workspace, entries: list[Entry]) -> RenderableType:
    """Draw all entries, then what served when."""
    if not entries:
        return f"Nothing has happened yet. Begin with `perennial pipeline {workspace.use_case.slug}`."
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("no", justify="right", style="dim")
    table.add_column("moment", no_wrap=True)
    table.add_column("stage", style="dim", no_wrap=True)
    table.add_column("what", overflow="fold")
    for entry in entries:
        lines = tell([entry], workspace.use_case.metrics.primary) or [_quiet(entry.record)]
        for number, (stage, sentence) in enumerate(lines):
            first = number == 0
            table.add_row(str(entry.seq) if first else "", _moment(entry.at) if first else "", stage, sentence)
    return Group(table, "", _served(entries))


def _served(entries: list[Entry]) -> RenderableType:
    rows = reigns(entries)
    if not rows:
        return "[yellow]Nothing serves yet.[/]"
    table = Table(title="What served when, and why", title_justify="left", title_style="bold", box=None)
    table.add_column("version", justify="right")
    table.add_column("from", no_wrap=True)
    table.add_column("until", no_wrap=True)
    table.add_column("why", overflow="fold")
    for row in rows:
        until = _moment(datetime.fromisoformat(str(row["until"]))) if row["until"] else "now"
        table.add_row(str(row["version"]), _moment(datetime.fromisoformat(str(row["since"]))), until, str(row["why"]))
    return table


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


@singledispatch
def _quiet(record: object) -> tuple[str, str]:
    return "", type(record).__name__


@_quiet.register
def _(record: Received) -> tuple[str, str]:
    revision = f", revision {record.revision}" if record.revision > 1 else ""
    return "ingest", f"{record.rows:,} {record.source} of {record.period} received{revision}"


@_quiet.register
def _(record: FeaturesBuilt) -> tuple[str, str]:
    return "features", f"{record.rows:,} rows of {record.period} computed"


@_quiet.register
def _(record: Registered) -> tuple[str, str]:
    return "register", f"version {record.version} in the registry, run {record.run[:8]}"


@_quiet.register
def _(record: RetrainingClaimed) -> tuple[str, str]:
    return "retrain", f"asked for by entry {record.request}, taken up by run {record.holder[:8]}"


@_quiet.register
def _(record: RetrainingEnded) -> tuple[str, str]:
    return "retrain", f"asked for by entry {record.request}, ended: {record.outcome}"


@_quiet.register
def _(record: AnswersCollected) -> tuple[str, str]:
    by = ", ".join(f"{rows:,} by version {version}" for version, rows in sorted(record.versions.items()))
    return "collect", f"{record.rows:,} online answers, {by}" if by else "no online answers"
