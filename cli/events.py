"""Why an event started something, or did not."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.arguments import Env, Json, choose_environment, environment
from cli.output import show

if TYPE_CHECKING:
    from deployments.explaining import Answer

app = typer.Typer(help="Events: why one started something, or did not.", no_args_is_help=True)

Which = Annotated[str, typer.Argument(help="JSON file with an event, or the id of one.", show_default=False)]
_TONES = {"yes": "green", "counts": "yellow", "no": "dim"}
_SAID = {"yes": "fires", "counts": "counts", "no": "no"}


@app.callback()
def _events() -> None:
    pass


@app.command()
def explain(which: Which, env: Env = None, as_json: Json = False) -> None:
    """Say for each automation whether an event fires it, with which parameters, and if not, why not."""
    from deployments.explaining import explain_event

    choose_environment(env)
    found = explain_event(_parsed(which), environment())
    show(found.plain(), lambda: _drawn(found), as_json)


def _parsed(which: str) -> UUID | Path:
    try:
        return UUID(which)
    except ValueError:
        return Path(which)


def _drawn(answer: "Answer") -> RenderableType:
    event = answer.event
    head = Text.assemble((event.event, "bold"), f" about {event.resource.id}, {event.occurred:%F %T} UTC, {event.id}")
    parts: list[RenderableType] = [head, Text(answer.source, style="dim")]
    if answer.misspelt:
        parts.append(Text(answer.misspelt, style="red"))
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in sorted(answer.explanations, key=lambda each: list(_TONES).index(each.answer)):
        tone = _TONES[one.answer]
        lines = [Text(one.automation, style="bold" if one.answer == "yes" else ""), *(map(Text, one.reasons))]
        table.add_row(Text(_SAID[one.answer], style=tone), Group(*lines, *map(_action, one.actions)))
    parts.append(table)
    parts += [Text(f"The journal: {one}", style="cyan") for one in answer.journal]
    parts += _done(answer.done)
    return Group(*parts)


def _action(action: dict[str, Any]) -> Text:
    return Text("  → " + ", ".join(f"{name} {value}" for name, value in action.items()), style="green")


def _done(done: Sequence[dict[str, str]]) -> list[Text]:
    tones = {"failed": "red", "executed": "green"}
    return [
        Text(
            f"What the server did: {one['automation']}: {one['action']} {one['outcome']}, {one['about']}",
            style=tones.get(one["outcome"], ""),
        )
        for one in done
    ]
