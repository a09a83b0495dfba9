"""Run past periods through the pipeline, one after the other, and tell what the loop decided.

Each period runs as of its end, so that it sees what was known then; every decision is the flows' own.
`make demo` is a backfill of the flights of 2013.
"""

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console
from rich.table import Table

from cli.asked_service import AskedService, asking
from cli.closing import registry_table, say_where, standing
from cli.story import tell
from perennial.errors import Permanent
from perennial.periods import Period
from perennial.records import Entry
from perennial.settings import Settings
from perennial.use_case_file import use_case_slugs
from perennial.watch.signs_of_life import why_unfinished
from perennial.workspace import Workspace


class NoBeginning(Permanent):
    """Nobody said where the backfill begins."""


class NotThroughYet(Permanent):
    """Another run holds the retraining of a period, on which the next ones rest."""


def run(
    use_cases: list[str], first: Period | None, periods: int, settings: Settings, console: Console, traffic: float = 0
) -> dict[str, Any]:
    """Run the pipeline for some periods in a row, as it would have run at the end of each.

    Args:
        use_cases: Slugs; all that declare `starts` when empty.
        first: Where to begin; by default where each use case says that it `starts`.
        periods: How many.
        settings: The environment to run in.
        console: Where the timeline is told.
        traffic: Requests a second that the online service of each use case gets meanwhile, where one runs here.

    Returns:
        Per use case the seconds it took, its versions and the newest report, for `--json`.

    Raises:
        NoBeginning: Neither `first` nor the use case says where to begin.
        NotThroughYet: Another run holds the retraining of a period.
    """
    from flows.entry import local_run

    summary: dict[str, Any] = {}
    workspaces = _workspaces(use_cases, settings)
    with local_run(settings):
        for workspace in workspaces:
            slug = workspace.use_case.slug
            console.rule(f"[bold]{workspace.use_case.title}[/] ({slug})", align="left")
            started = monotonic()
            begin = first or _beginning(workspace)
            try:
                with asking(workspace, traffic) as service:
                    _run_periods(workspace, begin, periods, console, service)
            finally:  # a period that failed leaves those before it, and where to look at it
                summary[slug] = {"seconds": round(monotonic() - started, 1), **standing(workspace)}
                console.print(registry_table(workspace, summary[slug]["versions"]))
                if workspace is workspaces[-1] or sys.exc_info()[0]:
                    say_where(summary, settings, console)
    return summary


def _workspaces(slugs: list[str], settings: Settings) -> list[Workspace]:
    if slugs:
        return [Workspace.open(slug, settings) for slug in slugs]
    known = [Workspace.open(slug, settings) for slug in use_case_slugs(Path(settings.use_cases))]
    return [workspace for workspace in known if workspace.use_case.starts]


def _beginning(workspace: Workspace) -> Period:
    if not workspace.use_case.starts:
        raise NoBeginning(
            f"`{workspace.use_case.slug}` does not say where its history begins. Give `--from`, or declare `starts` "
            f"in {workspace.use_case.folder / 'use_case.yaml'}."
        )
    return Period.parse(workspace.use_case.starts)


def _run_periods(
    workspace: Workspace, first: Period, periods: int, console: Console, service: AskedService | None
) -> None:
    from flows.pipeline import pipeline

    for period in islice(_from(first), periods):
        before = workspace.state().seq
        if service:
            service.expect(workspace, is_new=all(one.at != period.end for one in workspace.journal.entries()))
        with console.status(f"{period}: running the pipeline ..."):
            pipeline(workspace.use_case.slug, period=period.label, as_of=period.end)
        entries = workspace.journal.entries()
        told = [one for one in entries if one.at == period.end]
        _tell_period(workspace, period, told, any(one.seq > before for one in told), console, service)
        if unfinished := why_unfinished(workspace):
            raise NotThroughYet(f"The periods after {period} were not run. {unfinished}")


def _from(period: Period) -> Iterator[Period]:
    while True:
        yield period
        period = period.next()


def _tell_period(
    workspace: Workspace,
    period: Period,
    entries: list[Entry],
    is_new: bool,
    console: Console,
    service: AskedService | None,
) -> None:
    lines = Table.grid(padding=(0, 1))
    lines.add_column(width=len(period.label))
    lines.add_column(width=8, style="dim")
    lines.add_column(overflow="fold")
    said = tell(entries, workspace.use_case.metrics.primary)
    if service and is_new:
        said += service.told([one.record for one in entries])
    for number, (stage, sentence) in enumerate(said):
        lines.add_row(f"[bold]{period}[/]" if number == 0 else "", stage, sentence)
    if not is_new:
        lines.add_row("", "", "[dim]all of this was there already; nothing was done again[/]")
    console.print(lines)
