"""From one environment to the next and back: `promote`, `approvals`, `approve`, `reject` and `rollback`."""

import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.arguments import AsOf, Env, Json, UseCaseName, Verbose, choose_environment, environment, parse_as_of
from cli.output import show
from perennial.errors import Permanent

if TYPE_CHECKING:
    from deployments.approvals import Waiting
    from perennial.settings import Settings

Source = Annotated[str, typer.Option("--from", help="Environment to take the model from.")]
Target = Annotated[str | None, typer.Option("--to", help="Environment to let it serve in; by default this one.")]
Version = Annotated[int | None, typer.Option("--version", help="Its version there; by default the champion.")]
Here = Annotated[bool, typer.Option("--here", help="Run it in this process, also where a server could start it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for those who ask later.")]
Who = Annotated[str | None, typer.Option("--who", help="Who answers; by default the name of the login.")]
Run = Annotated[str, typer.Argument(help="Id of the run, its beginning, or its name.", show_default=False)]


class NobodyCanAnswer(Permanent):
    """A person has to be asked, and there is no server where one could answer."""


def add_commands(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (promote, approvals, approve, reject, rollback):
        app.command(rich_help_panel="Stages" if command in (promote, rollback) else "Services")(command)


def promote(
    use_case: UseCaseName,
    source: Source,
    target: Target = None,
    version: Version = None,
    here: Here = False,
    as_of: AsOf = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Take a model over from another environment, judge it on this one's data, and let it serve."""
    from cli.stages import run_flow

    choose_environment(target)
    settings, moment = environment(), parse_as_of(as_of)
    parameters = {"use_case": use_case, "source": source, "version": version, "as_of": moment}
    if not here and _started(settings, "promote", parameters, as_json):
        return
    _require_somebody(settings)
    run_flow("promote", use_case, {"source": source, "version": version, "as_of": moment}, as_json, verbose)


def rollback(
    use_case: UseCaseName,
    reason: Reason,
    env: Env = None,
    as_of: AsOf = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Withdraw the version that serves, and let the last good one serve again."""
    from cli.stages import run_flow

    choose_environment(env)
    run_flow("rollback", use_case, {"reason": reason, "as_of": parse_as_of(as_of)}, as_json, verbose)


def approvals(env: Env = None, as_json: Json = False) -> None:
    """List the promotions that wait for a person."""
    from deployments.approvals import told, waiting
    from deployments.server import server_of

    choose_environment(env)
    with server_of(environment()) as client:
        found = waiting(client, _environments(env))
    show([told(one) for one in found], lambda: _drawn(found), as_json)


def approve(run: Run, reason: Reason, who: Who = None, env: Env = None, as_json: Json = False) -> None:
    """Let a promoted model serve."""
    _answer(run, True, reason, who, env, as_json)


def reject(run: Run, reason: Reason, who: Who = None, env: Env = None, as_json: Json = False) -> None:
    """Keep a promoted model from serving."""
    _answer(run, False, reason, who, env, as_json)


def _answer(run: str, yes: bool, reason: str, who: str | None, env: str | None, as_json: bool) -> None:
    from deployments.approvals import answer, told, waiting
    from deployments.server import server_of

    choose_environment(env)
    with server_of(environment()) as client:
        found = answer(client, run, waiting(client, _environments(env)), yes, who or getpass.getuser(), reason)
    said = "[green]approved[/]" if yes else "[red]rejected[/]"
    heard = (
        f"{found.name}: {said}. The run hears it within seconds, or when it is run again if its process died; one that "
        f"died in a terminal is never run again, so look whether it goes on, or promote again: {found.link}"
    )
    show({**told(found), "approved": yes}, lambda: heard, as_json)


def _environments(env: str | None) -> list[str]:
    from blocks.documents import environment_names

    return [env] if env else environment_names()


def _started(settings: "Settings", flow: str, parameters: dict[str, Any], as_json: bool) -> bool:
    from prefect.exceptions import ObjectNotFound

    from deployments.approvals import start
    from deployments.server import NoServerKnown, server_of

    deployment = f"{flow}/{settings.environment}"
    try:
        with server_of(settings) as client:
            run, link = start(client, deployment, parameters)
    except (NoServerKnown, ObjectNotFound):
        return False
    about = {"run": str(run.id), "name": run.name, "deployment": deployment, "link": link}
    show(
        about, lambda: f"Started {deployment}: {link}\n`perennial approvals` tells when it waits for a person.", as_json
    )
    return True


def _require_somebody(settings: "Settings") -> None:
    """Where a person is asked, there has to be a server, and not another environment's, whose people would answer."""
    from blocks.stack import known_address

    if settings.approval != "person":
        return
    if not known_address(settings):
        raise NobodyCanAnswer(
            f"In `{settings.environment}` a person lets a promoted model serve, and without a Prefect server nobody "
            f"can answer. Run `perennial up --env {settings.environment}`, or set PREFECT_API_URL."
        )
    from deployments.observed import environments_at
    from deployments.server import require_meant, server_of

    with server_of(settings) as client:
        require_meant(settings, environments_at(client))


def _drawn(found: "list[Waiting]") -> RenderableType:
    if not found:
        return "[green]No promotion waits for an answer.[/]"
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("run", "what", "to", "from", "until (UTC), then no"):
        table.add_column(name, overflow="fold")
    for one in found:
        until = f"{one.until:%Y-%m-%d %H:%M}" if one.until else ""
        table.add_row(one.run[:8], one.name, one.environment, one.source, until)
    links = [Text(one.link, style="dim") for one in found]
    return Group(table, *links, Text("perennial approve <run> --reason ..., or perennial reject <run> --reason ..."))
