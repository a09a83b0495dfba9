"""Rows that broke their contract, for people: which deliveries have them, what is wrong, and judging them again."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.arguments import AsOf, Json, UseCaseName, open_workspace, parse_as_of
from cli.output import show

app = typer.Typer(help="Rows that broke their contract: which, why, and judging them again.", no_args_is_help=True)

SourceName = Annotated[str, typer.Argument(help="A key of `sources`.", show_default=False)]
Delivery = Annotated[str, typer.Argument(help="Its period, or `whole` for a reference table.", show_default=False)]


@app.command("list")
def list_deliveries(use_case: UseCaseName, as_json: Json = False) -> None:
    """List the deliveries with rows in quarantine, and the reasons."""
    from perennial.data.quarantine import list_quarantine

    found = list_quarantine(open_workspace(use_case))
    show([asdict(one) for one in found], lambda: _deliveries(use_case, found), as_json)


@app.command()
def explain(
    use_case: UseCaseName,
    source: SourceName,
    period: Delivery,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many rows at most.")] = 20,
    as_json: Json = False,
) -> None:
    """Show rows in quarantine with what is wrong with each."""
    from perennial.data.quarantine import explain as rows_of

    found = rows_of(open_workspace(use_case), source, period, limit)
    show([_plain(asdict(one)) for one in found], lambda: _rows(source, period, found), as_json)


@app.command()
def replay(
    use_case: UseCaseName, source: SourceName, period: Delivery, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Judge a delivery again after its contract was changed."""
    from flows.entry import now
    from perennial.data.quarantine import replay as judge_again

    accepted = judge_again(open_workspace(use_case), source, period, parse_as_of(as_of) or now())
    told = f"{accepted.accepted:,} of {accepted.rows:,} rows accepted, {accepted.quarantined:,} quarantined."
    show(accepted, lambda: told, as_json)


def _deliveries(use_case: str, found: Sequence[Any]) -> RenderableType:
    if not found:
        return f"[green]No row of {use_case} is in quarantine.[/]"
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("source", "period", "revision", "quarantined", "why"):
        table.add_column(name, overflow="fold", justify="right" if name in ("revision", "quarantined") else "left")
    for one in found:
        why = "\n".join(f"{rows:,} x {reason}" for reason, rows in sorted(one.reasons.items(), key=lambda it: -it[1]))
        count = f"{one.quarantined:,} of {one.rows:,}"
        table.add_row(one.source, one.period, str(one.revision), count, Text(why))
    return table


def _rows(source: str, period: str, found: Sequence[Any]) -> RenderableType:
    if not found:
        return f"[green]No row of {source} {period} is in quarantine.[/]"
    return Group(*(_row(one) for one in found))


def _row(row: Any) -> Text:
    key = ", ".join(f"{name} {value}" for name, value in row.key.items())
    reasons = "".join(f"\n  {one}" for one in row.reasons)
    offending = ", ".join(f"{name}: {'empty' if value is None else value}" for name, value in row.offending.items())
    return Text.assemble((f"row {row.number:,}", "bold"), f" ({key})", (reasons, "yellow"), f"\n  {offending}")


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    moment = row["event_time"]
    return {**row, "event_time": moment.isoformat() if moment else None}
