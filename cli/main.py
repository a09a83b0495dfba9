"""The `perennial` command: reads options and calls the rooms; what is slow is imported by the command that needs it."""

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from cli.arguments import (
    AsOf,
    Env,
    Json,
    PeriodLabel,
    SomeUseCase,
    UseCaseName,
    Verbose,
    choose_environment,
    environment,
    open_workspace,
    parse_as_of,
    slugs,
)
from cli.deploying import add_commands as add_deploying
from cli.drill import drill
from cli.events import app as events
from cli.explaining import explain
from cli.metrics import metrics
from cli.output import Commands, console, show
from cli.predictions import predictions
from cli.promoting import add_commands as add_promoting
from cli.quarantine import app as quarantine
from cli.rendering import render
from cli.rollout import add_commands as add_rollout
from cli.serving import serve
from perennial.periods import Every

app = typer.Typer(
    cls=Commands,
    name="perennial",
    help="Keeps machine-learning models alive.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(quarantine, name="quarantine")
app.add_typer(events, name="events")
add_deploying(app)
add_promoting(app)
add_rollout(app)
app.command()(explain)
app.command(rich_help_panel="Stages")(predictions)
app.command(rich_help_panel="Services")(drill)
app.command(rich_help_panel="Services")(serve)
app.command(rich_help_panel="Services")(metrics)
app.command(rich_help_panel="Services")(render)


def _add_stage(flow: str, what: str) -> None:
    def command(
        use_case: UseCaseName,
        period: PeriodLabel = None,
        as_of: AsOf = None,
        as_json: Json = False,
        verbose: Verbose = False,
    ) -> None:
        from cli.stages import run_stage

        run_stage(flow, use_case, period, parse_as_of(as_of), as_json, verbose)

    app.command(flow, help=what, rich_help_panel="Stages")(command)


for _flow, _what in {
    "pipeline": "Run everything that a period asks for.",
    "ingest": "Land what every source delivers for a period.",
    "validate": "Judge what was ingested by its contract.",
    "train": "Fit the candidates and keep the best.",
    "register": "Put the newest model into the registry and ask the gate.",
    "deploy": "Let the version that passed the gate serve.",
    "predict": "Score a period with the version that serves.",
    "monitor": "Measure how the version that serves did in a period.",
}.items():
    _add_stage(_flow, _what)


@app.command()
def backfill(
    use_cases: Annotated[list[str] | None, typer.Argument(help="Slugs; all that declare `starts` without any.")] = None,
    first: Annotated[
        str | None, typer.Option("--from", help="First period; by default where the use case starts.")
    ] = None,
    periods: Annotated[int, typer.Option("--periods", min=1, help="How many periods.")] = 12,
    traffic: Annotated[
        float, typer.Option("--traffic", min=0, max=500, help="Requests a second to the online service meanwhile.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Run past periods in a row, each as of its end, and tell what was decided."""
    from rich.console import Console

    from cli.backfill import run
    from perennial.periods import Period

    begin = Period.parse(first) if first else None
    told = Console(stderr=True, highlight=False) if as_json else console
    summary = run(use_cases or [], begin, periods, environment(), told, traffic)
    show(summary, lambda: None, as_json)


@app.command()
def history(use_case: UseCaseName, as_of: AsOf = None, as_json: Json = False) -> None:
    """Tell what happened, in order, and what served when, and why."""
    from cli.history import draw, entries_until, reigns

    workspace = open_workspace(use_case)
    entries = entries_until(workspace, parse_as_of(as_of))
    show({"entries": entries, "served": reigns(entries)}, lambda: draw(workspace, entries), as_json)


@app.command()
def status(use_case: SomeUseCase = None, env: Env = None, as_json: Json = False) -> None:
    """Show what runs, what is deployed and late, and of each use case what serves and how it does."""
    from cli.status import show_status

    choose_environment(env)
    settings = environment()
    show_status(settings, [open_workspace(slug) for slug in ([use_case] if use_case else slugs())], as_json)


@app.command("list")
def list_use_cases(as_json: Json = False) -> None:
    """List the use cases."""
    from rich.table import Table

    found = [open_workspace(slug).use_case for slug in slugs()]
    table = Table("use case", "task", "every", "title", box=None, header_style="bold")
    for one in found:
        table.add_row(one.slug, one.task, one.every.value, one.title)
    rows = [{"use_case": one.slug, "title": one.title, "task": one.task, "every": one.every.value} for one in found]
    show(rows, lambda: table, as_json)


@app.command()
def check(use_case: SomeUseCase = None, as_json: Json = False) -> None:
    """Check whether use cases are declared right, and their queries run; errors name the line and the nearest key."""
    from rich.text import Text

    from cli.output import errors
    from perennial.data.rehearsal import files_not_there, rehearse
    from perennial.errors import PerennialError
    from perennial.model.requirements import check_names, short_validation

    found: list[dict[str, Any]] = []
    for slug in [use_case] if use_case else slugs():
        try:
            workspace = open_workspace(slug)
            check_names(workspace.use_case)
            rehearse(workspace)
            short = short_validation(workspace.use_case)
            warnings = [*files_not_there(workspace), *([short] if short else [])]
            found.append({"use_case": slug, "valid": True, "problems": [], "warnings": warnings})
            if warnings and not as_json:
                errors.print(Text("\n".join(warnings), style="yellow"), soft_wrap=True)
        except PerennialError as error:
            found.append({"use_case": slug, "valid": False, "problems": list(getattr(error, "problems", [str(error)]))})
            if not as_json:
                errors.print(Text(str(error), style="red"), soft_wrap=True)
    valid = [one["use_case"] for one in found if one["valid"]]
    show(found, lambda: f"[green]{', '.join(valid)}: declared right.[/]" if valid else None, as_json)
    if len(valid) < len(found):
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of `use_case.yaml`, for editors."""
    from perennial.use_case_file import use_case_schema

    typer.echo(use_case_schema(), nl=False)


@app.command()
def new(
    slug: Annotated[str, typer.Argument(help="Name of the new use case, as my-model.")],
    csv: Annotated[Path, typer.Option("--csv", help="The data; it stays where it is.")],
    key: Annotated[str, typer.Option("--key", help="Column, or columns with commas, that identify a row.")],
    event_time: Annotated[str, typer.Option("--event-time", help="Column with the time that a prediction is for.")],
    label: Annotated[str, typer.Option("--label", help="Column to predict: a number, or two values.")],
    label_after: Annotated[
        str, typer.Option("--label-after", help="When the label is known after that, as 30d.")
    ] = "0s",
    every: Annotated[Every | None, typer.Option("--every", help="day, month or year; by default what fits.")] = None,
    as_json: Json = False,
) -> None:
    """Write the folder of a new use case from a CSV file."""
    from cli.scaffold import scaffold
    from cli.templates import next_steps, summary

    settings = environment()
    draft = scaffold(slug, csv, tuple(key.split(",")), event_time, label, label_after, every, settings)
    open_workspace(slug)
    show(summary(draft, settings), lambda: next_steps(draft, settings), as_json)


@app.command(rich_help_panel="Services")
def up(
    host: Annotated[str, typer.Option("--host", help="Address that the servers listen on.")] = "127.0.0.1",
    prefect_port: Annotated[int | None, typer.Option("--prefect-port", help="By default 4200, or a free one.")] = None,
    mlflow_port: Annotated[int | None, typer.Option("--mlflow-port", help="By default 5000, or a free one.")] = None,
    env: Env = None,
    as_json: Json = False,
) -> None:
    """Start servers, a worker and the online services that do not run here; apply where servers or worker are new."""
    from cli.services import up as bring_up
    from deployments.services.bringing_up import Place

    choose_environment(env)
    bring_up(Place(host, prefect_port, mlflow_port), as_json)


@app.command(rich_help_panel="Services")
def down(env: Env = None, as_json: Json = False) -> None:
    """Stop what `up` started; runs that this interrupts wait for the next worker."""
    from cli.services import down as take_down

    choose_environment(env)
    take_down(as_json)


@app.command(rich_help_panel="Services")
def doctor(env: Env = None, as_json: Json = False) -> None:
    """Tell what is missing and how to mend it; exit code 1 when something is."""
    from cli.doctor import examine

    choose_environment(env)
    if not examine(as_json):
        raise typer.Exit(1)


def main() -> NoReturn:
    """Run the command that the arguments name."""
    from flows.entry import run_to_end

    run_to_end(app)
