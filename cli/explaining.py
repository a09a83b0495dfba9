"""`perennial explain`: an answer of the online service, what it was asked, what the model saw, and what counted."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.arguments import Env, Json, SomeUseCase, choose_environment, open_workspace, slugs
from cli.output import show

if TYPE_CHECKING:
    from perennial.model.contributions import Contributions
    from perennial.release.asked import AskedAnswer
    from perennial.workspace import Workspace

Id = Annotated[str, typer.Option("--request-id", help="The X-Request-Id of an answer, or one of its prediction ids.")]
_BAR = 12


def explain(request_id: Id, use_case: SomeUseCase = None, env: Env = None, as_json: Json = False) -> None:
    """Show an answer of the online service: inputs, features, version, and what each feature added to the score."""
    choose_environment(env)
    workspace, answers = _find(request_id, use_case)
    parts = _taken_apart(workspace, answers)
    told = [
        one.model_dump(mode="json") | {"use_case": workspace.use_case.slug, "contributions": why}
        for one, why in zip(answers, parts, strict=True)
    ]
    show(told, lambda: _drawn(workspace, answers, parts[0]), as_json)


def _find(request_id: str, use_case: str | None) -> "tuple[Workspace, list[AskedAnswer]]":
    from perennial.release.asked import UnknownRequest, find_answers

    served = [one for slug in ([use_case] if use_case else slugs()) if (one := open_workspace(slug)).use_case.serving]
    for workspace in served:
        try:
            return workspace, find_answers(workspace, request_id)
        except UnknownRequest:
            if workspace is served[-1]:
                raise
    unserved = f"`{use_case}` declares no `serving`" if use_case else "no use case here declares `serving`"
    raise UnknownRequest(f"`{request_id}` was not answered: {unserved}.")


def _taken_apart(workspace: "Workspace", answers: "list[AskedAnswer]") -> "list[Contributions | None]":
    """What each feature added, by the model that answered; `None` where that model is not there any more."""
    from perennial.model.artifact import load_model
    from perennial.model.contributions import contributions

    models = {one.version: one.model for one in workspace.state().registered.values()}
    loaded = {
        version: load_model(workspace.store, models[version])
        for version in {one.model_version for one in answers} & models.keys()
    }
    return [
        contributions(loaded[one.model_version], [one.features])[0] if one.model_version in loaded else None
        for one in answers
    ]


def _drawn(workspace: "Workspace", answers: "list[AskedAnswer]", why: "Contributions | None") -> RenderableType:
    parts: list[RenderableType] = [_head(workspace, answers[0], why)]
    if len(answers) > 1:
        parts.append(Text(f"{len(answers)} rows were asked for together; the others, each to be asked for by its id:"))
        parts += [Text(f"  {one.prediction_id}  {one.score:.4f}", style="dim") for one in answers[1:]]
    return Group(*parts)


def _head(workspace: "Workspace", one: "AskedAnswer", why: "Contributions | None") -> RenderableType:
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="dim", no_wrap=True)
    lines.add_column(overflow="fold")
    lines.add_row("asked", f"{one.asked_at:%Y-%m-%d %H:%M:%S} UTC, for {one.event_time:%Y-%m-%d %H:%M} UTC")
    lines.add_row("score", Text(f"{one.score:.4f}", style="bold"))
    if one.corrected is not None:
        told = f"{one.corrected:.4f} by version {one.corrected_version}; version {one.model_version} was withdrawn"
        lines.add_row("corrected", Text(told, style="yellow"))
    lines.add_row("answered by", _origin(one))
    if one.shadow_score is not None:
        lines.add_row("in shadow", f"{one.shadow_score:.4f} by version {one.shadow_version}")
    lines.add_row("reference", Text(f"{one.reference[:12]}, the deliveries and the query behind the features"))
    lines.add_row("kept in", f"batch {one.batch} of the lake" if one.batch else "the log; the lake has it soon")
    title = Text.assemble(("Answer ", "bold"), (one.prediction_id, "bold"), f" ({workspace.use_case.slug})")
    return Group(title, lines, "", _values("what was asked", one.inputs), "", *_of_model(one, why), "")


def _origin(one: "AskedAnswer") -> str:
    trial = f", as {one.arm} of rollout {one.rollout}" if one.rollout else ""
    return f"version {one.model_version}, while release {one.release} served{trial}"


def _of_model(one: "AskedAnswer", why: "Contributions | None") -> list[RenderableType]:
    if why is None:
        gone = f"Version {one.model_version} is not in the journal, so its score cannot be taken apart."
        return [_values("what the model saw", one.features), Text(gone, style="yellow")]
    unused = [name for name in one.features if name not in why.features]
    ordered = sorted(why.features, key=lambda name: -abs(why.features[name])) + unused
    shown = {name: _as_seen(one.features[name], name in why.unseen) for name in ordered}
    table = _values("what the model saw", shown, why.features, why.unit)
    total = why.base + sum(why.features.values())
    return [table, Text(f"Without any of it {why.base:+.4f}; together {total:+.4f} {why.unit}.", style="dim")]


def _values(title: str, values: dict[str, Any], added: dict[str, float] | None = None, unit: str = "") -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(title, overflow="fold")
    table.add_column("value", overflow="fold", justify="right")
    if added:
        table.add_column(f"added, in {unit}", no_wrap=True)
    most = max(map(abs, (added or {}).values()), default=0.0) or 1.0
    for name, value in values.items():
        table.add_row(Text(name), Text(_plain(value)), *([_bar(added.get(name, 0.0), most)] if added else []))
    return table


def _as_seen(value: Any, is_unseen: bool) -> Any:
    return f"missing: it does not know `{value}`" if is_unseen else value


def _bar(value: float, most: float) -> Text:
    width = round(abs(value) / most * _BAR)
    return Text(f"{value:+8.4f} {'█' * width}", style="green" if value > 0 else "red" if value < 0 else "dim")


def _plain(value: Any) -> str:
    if value is None:
        return "missing"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
