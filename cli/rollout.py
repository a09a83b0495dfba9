"""What is on its way to serve, what it showed so far, and what became of the answers of withdrawn releases."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.arguments import Env, Json, UseCaseName, Verbose, choose_environment, open_workspace
from cli.output import show
from perennial.records import Answer, Verdict
from perennial.rollouts import whose
from perennial.state import Rollout, State
from perennial.workspace import Workspace

Wait = Annotated[bool, typer.Option("--wait", help="Follow it to its end, and take the steps that are due.")]
Score = Annotated[bool, typer.Option("--score", help="Score them again now, by the release that serves.")]
_TONES = {Answer.PASS: "green", Answer.FAIL: "red", Answer.INCONCLUSIVE: "yellow"}
_SAID = {Answer.PASS: "PASS", Answer.FAIL: "FAIL", Answer.INCONCLUSIVE: "HOLD"}


def add_commands(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (rollout, corrections):
        app.command(rich_help_panel="Stages")(command)


def rollout(
    use_case: UseCaseName, wait: Wait = False, env: Env = None, as_json: Json = False, verbose: Verbose = False
) -> None:
    """Show the version that is on trial with the evidence so far, and how the one that serves does."""
    from flows.entry import now

    choose_environment(env)
    workspace = open_workspace(use_case)
    if wait and workspace.state().rollout:
        from cli.stages import run_flow

        return run_flow("roll_out", use_case, {}, as_json, verbose)
    found = standing(workspace, now())
    return show(found, lambda: _drawn(found), as_json)


def corrections(use_case: UseCaseName, score: Score = False, env: Env = None, as_json: Json = False) -> None:
    """List the predictions of withdrawn releases, and what was scored again."""
    from flows.entry import now
    from perennial.release.corrections import affected, correct

    choose_environment(env)
    workspace = open_workspace(use_case)
    if score:
        correct(workspace, now())
    waiting = [
        {
            "withdrawn": one.withdrawn.number,
            "rollout": one.withdrawn.rollout,
            "version": one.withdrawn.version,
            "batch": source.batch,
            "rows": source.rows,
        }
        for one in affected(workspace.journal.entries())
        for source in one.sources
    ]
    made = workspace.state().corrected
    show({"waiting": waiting, "made": made}, lambda: _corrections(use_case, waiting, made), as_json)


def standing(workspace: Workspace, now: datetime) -> dict[str, Any]:
    """Return how the version that serves does, and what is on trial, as the guard would decide at this moment."""
    from perennial.release.guarding import look
    from perennial.release.rollout_evidence import is_fresh

    view, state = look(workspace, now), workspace.state()
    open_one = state.rollout
    return {
        "use_case": workspace.use_case.slug,
        "environment": workspace.settings.environment,
        "champion": state.champion,
        "served": bool(state.champion and state.champion.number in state.served),
        "replicas": sum(is_fresh(one, now) for one in view.reports) if view else 0,
        "health": view.health() if view else None,
        "probation": _probation(state) or (view.probation() if view else None),
        "rollout": _told(open_one, view.trial(open_one) if view else open_one.verdict) if open_one else None,
        "past": [_told(one, one.verdict) for one in state.rollouts.values() if not one.is_open],
    }


def _probation(state: State) -> Verdict | None:
    ended = state.probations.get(state.champion.number) if state.champion else None
    return ended.verdict if ended else None


def _told(one: Rollout, verdict: Verdict | None) -> dict[str, Any]:
    return {
        "number": one.started.number,
        "kind": one.started.rollout,
        "version": one.started.version,
        "against_version": one.started.against_version,
        "began": one.at.isoformat(),
        "deadline": one.started.deadline.isoformat(),
        "step": one.step,
        "steps": list(one.started.steps),
        "verdict": verdict,
    }


def _drawn(found: dict[str, Any]) -> RenderableType:
    champion = found["champion"]
    if champion is None:
        return f"Nothing serves yet. Begin with `perennial pipeline {found['use_case']}`."
    served = "served in good health" if found["served"] else "not yet shown to be in good health"
    where = f"release {champion.number}, {found['replicas']} replicas"
    parts: list[RenderableType] = [f"[bold]version {champion.version}[/] serves ({where}): {served}"]
    for title in ("health", "probation"):
        if found[title]:
            parts += ["", _verdict(title, found[title])]
    trial = found["rollout"]
    if trial:
        parts += ["", _trial(trial), _verdict("verdict so far", trial["verdict"]) if trial["verdict"] else ""]
    parts += [_past(found["past"])] if found["past"] else []
    if not trial:
        parts.append("[dim]Nothing is on trial.[/]")
    return Group(*parts)


def _trial(trial: dict[str, Any]) -> RenderableType:
    steps = ", ".join(
        f"[bold]{one:.0%}[/]" if n == trial["step"] else f"{one:.0%}" for n, one in enumerate(trial["steps"])
    )
    began, deadline = _moment(trial["began"]), _moment(trial["deadline"])
    return (
        f"[bold cyan]version {trial['version']}[/] is on trial as {trial['kind']} {trial['number']} against version "
        f"{trial['against_version']}, since {began} until {deadline} at the latest; share {steps}"
    )


def _verdict(title: str, verdict: Verdict) -> RenderableType:
    lines = [Text.assemble(f"{title}: ", (_SAID[verdict.answer], _TONES[verdict.answer]))]
    return Group(*lines, *(Padding(Text(one), (0, 0, 0, 2)) for one in verdict.reasons))


def _moment(at: str) -> str:
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M}"


def _past(rows: list[dict[str, Any]]) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("trial", "version", "began", "said last", "why"):
        table.add_column(name, overflow="fold")
    for one in rows:
        verdict = one["verdict"]
        answer, why = (verdict.answer.value, verdict.reasons[0]) if verdict else ("", "")
        table.add_row(f"{one['kind']} {one['number']}", str(one["version"]), _moment(one["began"]), answer, Text(why))
    return Group("", table)


def _corrections(use_case: str, waiting: list[dict[str, Any]], made: list[Any]) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("withdrawn", "rows", "batches", "scored again by"):
        table.add_column(name, overflow="fold")
    for one in made:
        by = f"release {one.release}, version {one.version}"
        table.add_row(one.whose, f"{one.rows:,}", str(len(one.sources)), by)
    for row in waiting:
        table.add_row(
            whose(row["withdrawn"], row["rollout"]),
            f"at most {row['rows']:,}",
            row["batch"],
            Text("nobody yet", style="yellow"),
        )
    if not table.row_count:
        return "[green]Nothing that was taken back wrote any prediction.[/]"
    hint = f"`perennial corrections {use_case} --score` scores them again." if waiting else ""
    return Group(table, Text(hint, style="dim"))
