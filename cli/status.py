"""What runs and what is deployed, and how each use case stands: what serves, what was measured, what was found."""

from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.findings import finding_lines
from cli.output import show
from cli.services import draw_server, draw_services
from cli.serving import service_lines
from cli.story import show_value
from perennial.records import Answer
from perennial.settings import Settings
from perennial.state import State
from perennial.workspace import Workspace


def show_status(settings: Settings, workspaces: list[Workspace], as_json: bool) -> None:
    """Print the services of this machine, what the server says, and the use cases; without a server only these."""
    from deployments.services.overview import server_overview, services_here
    from flows.entry import now

    services, server = services_here(settings), server_overview(settings)
    use_cases = [status_of(one, now()) for one in workspaces]
    told = {"environment": settings.environment, "services": services, "server": server, "use_cases": use_cases}
    drawn = [draw(one, ws.use_case.metrics.primary) for one, ws in zip(use_cases, workspaces, strict=True)]
    show(told, lambda: Group(draw_services(services, settings.environment), draw_server(server), "", *drawn), as_json)


def status_of(workspace: Workspace, now: datetime) -> dict[str, Any]:
    """Return what the journal of a use case amounts to, and how its online service stands now, as plain values."""
    from deployments.services.serving_overview import service_of

    state, store = workspace.state(), workspace.store
    measured = state.measured[-1] if state.measured else None
    delivery = state.accepted[-1] if state.accepted else None
    return {
        "use_case": workspace.use_case.slug,
        "title": workspace.use_case.title,
        "environment": workspace.settings.environment,
        "entries": state.seq,
        "champion": _champion(state),
        "challenger": _challenger(state),
        "service": service_of(workspace, now),
        "delivery": delivery,
        "measured": measured,
        "decided": state.decided[-1] if state.decided else None,
        "report": store.uri(measured.report) if measured and measured.report else None,
        "storage_root": workspace.settings.storage_root,
    }


def draw(status: dict[str, Any], primary: str) -> RenderableType:
    """Draw the status of one use case."""
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="dim", no_wrap=True)
    lines.add_column(overflow="fold")
    champion, challenger = status["champion"], status["challenger"]
    lines.add_row("champion", _champion_line(champion) if champion else "[yellow]none yet[/]")
    lines.add_row("challenger", _challenger_line(challenger) if challenger else "none")
    for line in service_lines(status["service"]):
        lines.add_row(*line)
    delivery = status["delivery"]
    if delivery:
        told = f"{delivery.source} {delivery.period}: {delivery.accepted:,} rows, {delivery.quarantined:,} quarantined"
        lines.add_row("delivery", told)
    measured = status["measured"]
    if measured:
        found = measured.performance.get(primary)
        value = show_value(found.value if found else None)
        labels = found.rows if found else 0
        lines.add_row("measured", f"{measured.period}: {primary} {value} on {labels:,} mature labels")
        for one in finding_lines(measured):
            lines.add_row("", one)
    if status["decided"]:
        decided = status["decided"]
        lines.add_row("decision", Text(f"{decided.action}: {' '.join(decided.reasons)}"))
    if status["report"]:
        lines.add_row("report", Text(status["report"]))
    return Group(
        Text.assemble((status["title"], "bold"), f" ({status['use_case']}, {status['environment']})"), lines, ""
    )


def _champion(state: State) -> dict[str, Any] | None:
    champion = state.champion
    if champion is None:
        return None
    training = state.training_of(champion.model)
    return {
        "version": champion.version,
        "release": champion.number,
        "since": state.released_at[champion.number].isoformat(),
        "candidate": training.candidate if training else None,
        "trained_until": training.holdout.end.isoformat() if training else None,
        "model": champion.model,
    }


def _challenger(state: State) -> dict[str, Any] | None:
    if not state.judged or (state.champion and state.judged[-1].version == state.champion.version):
        return None
    judged = state.judged[-1]
    return {
        "version": judged.version,
        "answer": judged.verdict.answer.value,
        "reasons": list(judged.verdict.reasons),
        "model": judged.model,
    }


def _champion_line(champion: dict[str, Any]) -> str:
    until = f", {champion['candidate']} on data until {champion['trained_until'][:10]}" if champion["candidate"] else ""
    return f"[bold green]version {champion['version']}[/] since {champion['since'][:16].replace('T', ' ')}{until}"


def _challenger_line(challenger: dict[str, Any]) -> Text:
    tone = "yellow" if challenger["answer"] == Answer.INCONCLUSIVE else "red"
    reasons = " ".join(challenger["reasons"][:2])
    return Text.assemble(f"version {challenger['version']}: ", (challenger["answer"], tone), f", {reasons}")
