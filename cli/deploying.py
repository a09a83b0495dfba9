"""`perennial plan` and `perennial apply`: what differs between the code and a server, and making it so."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.arguments import Env, Json
from cli.output import console, errors, show

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

    from deployments.plan import Change
    from perennial.settings import Settings

_SIGNS = {"create": ("+", "green"), "update": ("~", "yellow"), "delete": ("-", "red")}
_DONE = {"create": "created", "update": "updated", "delete": "deleted"}
_LONGEST = 240
_MOST = 8
_DIFFERS = 2


def add_commands(app: typer.Typer) -> None:
    """Add the two commands to an app."""
    for command in (plan, apply):
        app.command(rich_help_panel="Services")(command)


def plan(env: Env = None, as_json: Json = False) -> None:
    """Show what differs between the code and a Prefect server; exit code 2 when something does."""
    settings = _settings(env)
    from deployments.apply import changes
    from deployments.server import server_of

    with server_of(settings) as client:
        address = _warned(settings, client)
        found = changes(client, settings)
    show(_told(settings, address, found), lambda: _drawn(settings, address, found), as_json)
    if found:
        raise typer.Exit(_DIFFERS)


def apply(env: Env = None, as_json: Json = False) -> None:
    """Make a Prefect server so as the code declares it; a second time changes nothing."""
    settings = _settings(env)
    from blocks.stack import named_by
    from deployments.apply import apply as make_so
    from deployments.notifications import untold
    from deployments.server import server_of

    with server_of(settings) as client:
        address = _warned(settings, client)
        errors.print(f"Applying {settings.environment} to {address}, as {named_by(settings)} says ...", soft_wrap=True)
        tell = (lambda change: None) if as_json else (lambda change: console.print(_table([change])))
        done = make_so(client, settings, tell)
    counts = _counts(done, _DONE) if done else "nothing to change"
    if silence := untold(settings):
        errors.print(Text(silence, style="yellow"))
    show(_told(settings, address, done), lambda: f"{settings.environment} on {address}: {counts}.", as_json)


def _warned(settings: "Settings", client: "SyncPrefectClient") -> str:
    """Return the address of the server, once it was said if it is open to all."""
    from deployments.server import unguarded

    address = str(client.api_url).rstrip("/")
    if warning := unguarded(settings, address):
        errors.print(Text(warning, style="yellow"))
    return address


def _settings(env: str | None) -> "Settings":
    from blocks.documents import read_settings

    return read_settings(env)


def _told(settings: "Settings", address: str, changes: Iterable["Change"]) -> dict[str, Any]:
    return {"environment": settings.environment, "server": address, "changes": [_plain(one) for one in changes]}


def _plain(change: "Change") -> dict[str, Any]:
    fields = [{"field": name, "before": old, "after": new} for name, (old, new) in change.fields.items()]
    about = {"action": change.action, "kind": change.item.kind, "name": change.item.name}
    return {**about, "why": change.why, "fields": fields}


def _drawn(settings: "Settings", address: str, changes: list["Change"]) -> RenderableType:
    where = Text.assemble((settings.environment, "bold"), f" on {address}")
    if not changes:
        return Text.assemble(where, ": as the code declares it.")
    todo = _counts(changes, {action: f"to {action}" for action in _SIGNS})
    after = Text.assemble(f"{todo}. ", (f"perennial apply --env {settings.environment}", "bold"), " makes it so.")
    return Group(where, _table(changes), after)


def _table(changes: Iterable["Change"]) -> Table:
    from deployments.item import summary

    lines = Table.grid(padding=(0, 2))
    lines.add_column(width=1)
    lines.add_column(width=10, style="dim")
    lines.add_column(overflow="fold")
    for change in changes:
        sign, tone = _SIGNS[change.action]
        about = change.why or (summary(change.item) if change.action == "create" else "")
        named = Text.assemble(change.item.name, (f"  {about}" if about else "", "dim"))
        lines.add_row(Text(sign, style=tone), change.item.kind, Group(named, *_fields(change)))
    return lines


def _fields(change: "Change") -> Iterator[Text]:
    for field, (before, after) in list(change.fields.items())[:_MOST]:
        yield Text.assemble((f"  {field}: ", "dim"), _short(before), (" → ", "dim"), _short(after))
    if len(change.fields) > _MOST:
        yield Text(f"  and {len(change.fields) - _MOST} more, as --json tells", style="dim")


def _short(value: Any) -> str:
    text = value if value == "(absent)" else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _counts(changes: Iterable["Change"], words: dict[str, str]) -> str:
    counted = Counter[str](one.action for one in changes)
    return ", ".join(f"{counted[action]} {word}" for action, word in words.items() if counted[action])
