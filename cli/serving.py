"""`perennial serve`: the online service of one use case in this terminal; and how services are told to people."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from blocks.documents import PROJECT
from cli.arguments import Env, UseCaseName, choose_environment, open_workspace
from cli.output import console
from cli.service_log import readable

if TYPE_CHECKING:
    from deployments.services.launches import Launch

Host = Annotated[str | None, typer.Option("--host", help="Address to listen on; by default what the environment says.")]
Port = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Port to listen on; by default likewise.")]
Replicas = Annotated[int | None, typer.Option("--replicas", min=1, help="Processes that answer; by default likewise.")]

Requests = Annotated[bool, typer.Option("--verbose", "-v", help="Show every request, not only those that failed.")]


def serve(
    use_case: UseCaseName,
    host: Host = None,
    port: Port = None,
    replicas: Replicas = None,
    env: Env = None,
    verbose: Requests = False,
) -> None:
    """Answer requests for one use case here, by each release as soon as it is made, until Ctrl-C."""
    from deployments.services.serving_alone import alone

    choose_environment(env)
    workspace = open_workspace(use_case)
    launch = alone(workspace, host, port, replicas)
    console.print(f"[bold]{workspace.use_case.title}[/] ({use_case}, {workspace.settings.environment})")
    for line in _ways_in(launch.address, workspace.settings.environment, bool(workspace.state().champion)):
        console.print(line, soft_wrap=True)
    raise typer.Exit(_run(launch, verbose))


def _run(launch: "Launch", verbose: bool) -> int:
    """Run it to its end, with its lines made readable on a terminal.

    It has a process group of its own, so that Ctrl-C reaches it once, from here, and not a second time from the
    terminal.
    """
    output = subprocess.PIPE if sys.stdout.isatty() else None
    errors = subprocess.STDOUT if output else None
    sys.stdout.flush()
    child = subprocess.Popen(  # noqa: S603
        launch.command, cwd=PROJECT, env=launch.environment, stdout=output, stderr=errors, text=True, process_group=0
    )
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda number, frame: child.send_signal(number))
    for line in child.stdout or ():
        shown = readable(line, verbose)
        if shown:
            print(shown, flush=True)
    return child.wait()


def service_lines(service: dict[str, Any] | None) -> Iterator[tuple[str, Text]]:
    """Yield what is told of an online service, as pairs of a name and a text; nothing where none is declared."""
    if service is None:
        return
    yield "service", _service_line(service)
    if service["rollout"]:
        yield "rollout", _rollout_line(service["rollout"])
    for one in service["refused"]:
        yield "", Text(f"replica {one['replica']} refused {one['what']}: {one['why']}", style="red")
    for one in service["findings"]:
        yield "", Text(f"{one['category']}: {one['summary']}", style="red" if one["level"] == "alert" else "yellow")
    if service["log_lag_rows"] or service["dropped_rows"]:
        lost = f", {service['dropped_rows']:,} were dropped" if service["dropped_rows"] else ""
        told = f"{service['log_lag_rows']:,} answers are not in the log yet{lost}"
        yield "", Text(told, style="red" if lost else "dim")


def _service_line(service: dict[str, Any]) -> Text:
    by = ", ".join(f"release {one['release']} (version {one['version']})" for one in service["answers_by"])
    ready = f"{service['ready']} of {service['replicas']} replicas ready"
    told = Text.assemble((f"{service['address']}, " if service["address"] else "", "bold"))
    if service["replicas"]:
        told.append(ready, "green" if service["ready"] == service["replicas"] else "yellow")
        told.append(f", {by}" if by else "")
    if service["silent"]:
        told.append(f", {service['silent']} fell silent", "yellow")
    if service["trouble"]:
        told.append(f"{', ' if len(told) else ''}{service['trouble']}", "yellow")
    return told


def _rollout_line(rollout: dict[str, Any]) -> Text:
    where = f"step {rollout['step']} of {rollout['steps']}, " if rollout["steps"] > 1 else ""
    said = f"; {rollout['verdict']}: {' '.join(rollout['reasons'][:1])}" if rollout["verdict"] else ""
    return Text(
        f"version {rollout['version']} as {rollout['kind']} on {rollout['share']:.0%} of the requests, {where}"
        f"in {rollout['replicas']} replicas{said}"
    )


def _ways_in(address: str, environment: str, is_released: bool) -> Iterator[str]:
    pages = f", {address}/docs for examples" if environment != "prod" else ""
    yield f"  {address}/predict, /v2/models/..., /invocations{pages}; Ctrl-C ends it."
    if not is_released:
        yield "  [yellow]Nothing has been released yet: it is not ready, and will be once something is.[/]"
