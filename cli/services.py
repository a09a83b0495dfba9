"""Bringing the services of this machine up and down, and telling how they stand."""

import os
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from blocks.documents import read_settings
from blocks.stack import read_keys, read_stack, run_folder, serving_name
from cli.output import errors, show

if TYPE_CHECKING:
    from deployments.services.bringing_up import Place
    from perennial.settings import Settings

_USES = {"prefect": "runs, artifacts, events", "mlflow": "models, metrics, plots", "worker": "runs the flows"}


def up(place: "Place", as_json: bool) -> None:
    """Start what does not run yet, and say where it is and how long it took."""
    from deployments.services.bringing_up import bring_up

    settings, began = _own_settings(), monotonic()
    if place.is_public:
        errors.print(
            f"[yellow]{place.host} can be reached by other machines, and Prefect and MLflow do not encrypt what they "
            "send: put a proxy with TLS before them. Whoever has the password can run code on this machine.[/]"
        )
    with errors.status("Starting ...") as status:
        started, changed = bring_up(settings, place, status.update)
    seconds = round(monotonic() - began, 1)
    stack = read_stack(settings)
    addresses = {name: one.address for name, one in stack.services.items() if one.address}
    told: dict[str, Any] = {"environment": settings.environment, "started": started, "seconds": seconds}
    told |= {"changed": changed, "addresses": addresses, "not_ready": _not_ready(settings)}
    show(told, lambda: _draw_up(told, settings), as_json)


def down(as_json: bool) -> None:
    """Stop what `up` started, and say what that interrupted."""
    from deployments.services.taking_down import take_down

    settings = _own_settings()
    with errors.status("Stopping ..."):
        stopped, interrupted = take_down(settings)
    told = {"environment": settings.environment, "stopped": stopped, "interrupted_runs": interrupted}
    if interrupted:
        runs = f"[yellow]{interrupted} interrupted runs wait for the next worker[/]; `perennial up` goes on with them."
    else:
        runs = "No run was interrupted."
    text = f"Stopped {', '.join(stopped)} of {settings.environment}. {runs}" if stopped else _nothing(settings)
    show(told, lambda: text, as_json)


def draw_services(rows: list[dict[str, Any]], environment: str) -> RenderableType:
    """Draw which services run here."""
    if not rows:
        return Text.assemble(
            (f"Services of {environment}", "bold"), ": none on this machine; start them by `perennial up`"
        )
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for name in ("service", "state", "address"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        state = "[green]running[/]" if row["running"] else "[red]ended[/]"
        size = f"{row['memory_mb']} MB" if row["running"] else ""
        table.add_row(row["service"], state, row["address"] or "", f"pid {row['pid']}" if row["running"] else "", size)
    hint = [] if all(row["running"] for row in rows) else ["`perennial up` starts again what has ended."]
    return Group(Text(f"Services of {environment}", style="bold"), table, *hint)


def draw_server(server: dict[str, Any] | None) -> RenderableType:
    """Draw what is deployed, and which runs are underway or late."""
    if server is None:
        return Text("Deployments: no Prefect server is known; set PREFECT_API_URL or run `perennial up`.", style="dim")
    if "error" in server:
        return Text(f"Deployments: {server['address']} does not answer: {server['error']}", style="red")
    table = Table(title=f"Deployments at {server['address']}", title_justify="left", title_style="bold", box=None)
    for name in ("deployment", "schedules"):
        table.add_column(name, overflow="fold")
    for row in server["deployments"]:
        plans = ", ".join(f"{one['cron']}{'' if one['active'] else ' (paused)'}" for one in row["schedules"])
        table.add_row(row["deployment"], ("[yellow]paused[/] " if row["paused"] else "") + (plans or "by hand"))
    lines = [_run_line(run) for run in server["runs"]] or [Text("No run is underway, waiting or late.", style="dim")]
    return Group(table, "", *lines, "")


def _run_line(run: dict[str, Any]) -> Text:
    is_late = run["state"] not in ("Running", "Paused", "Suspended") and run["late_seconds"] > 0
    about = f"for {run['ran_seconds']} s" if run["state"] == "Running" else f"{max(run['late_seconds'], 0)} s late"
    return Text.assemble((run["state"].lower(), "red" if is_late else "green"), f"  {run['run']}, {about}")


def _not_ready(settings: "Settings") -> dict[str, str]:
    """Return why online services that run have nothing to answer with, by service."""
    from deployments.services.serving_up import served_use_cases
    from perennial.workspace import Workspace

    stack = read_stack(settings)
    served = [Workspace(one, settings) for one in served_use_cases(settings)]
    new = [one.use_case.slug for one in served if one.state().champion is None]
    return {
        name: "nothing has been released yet; it is ready as soon as something is"
        for name in map(serving_name, new)
        if name in stack.services
    }


def _draw_up(told: dict[str, Any], settings: "Settings") -> RenderableType:
    lines = Table.grid(padding=(0, 2))
    for name, address in told["addresses"].items():
        lines.add_row(name, f"[bold]{address}[/]", f"[dim]{_use(name)}[/]")
    if told["started"]:
        head = f"[green]Up[/] in {told['seconds']} s: {', '.join(told['started'])} of {settings.environment}."
    else:
        head = f"All services of {settings.environment} were running already; nothing was started."
    applied = [f"Applied {told['changed']} changes, as of deployments and schedules."] if told["changed"] else []
    not_ready = [f"[yellow]{name} is not ready[/]: {why}." for name, why in told["not_ready"].items()]
    secured = [f"Their passwords are in {run_folder(settings) / 'keys.json'}."] if read_keys(settings) else []
    rest = "[dim]`perennial down` stops them, `perennial status` shows what they do.[/]"
    return Group(head, *applied, lines, *not_ready, *secured, rest)


def _use(name: str) -> str:
    return _USES.get(name, "answers requests; POST /predict, examples at /docs")


def _own_settings() -> "Settings":
    """Return the settings; the servers of this machine are meant, whatever `PREFECT_API_URL` says."""
    os.environ.pop("PREFECT_API_URL", None)
    return read_settings()


def _nothing(settings: "Settings") -> str:
    return f"No service of {settings.environment} was running; nothing was stopped."
