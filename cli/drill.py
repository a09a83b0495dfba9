"""`perennial drill`: a faulty model let loose on a copy of the service and taken back, told as it happens."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from cli.arguments import Env, Json, UseCaseName, choose_environment, open_workspace
from cli.output import console, show
from cli.story import tell
from perennial.records import Entry, Released

if TYPE_CHECKING:
    from deployments.drill.rehearsal import Moment
    from perennial.workspace import Workspace

How = Annotated[Literal["direct", "canary", "shadow"], typer.Option("--rollout", help="How it gets to serve.")]
Rate = Annotated[float, typer.Option("--rate", min=1, max=500, help="Requests a second, of real rows.")]
Replicas = Annotated[int, typer.Option("--replicas", min=1, max=8, help="Processes that answer.")]


def drill(
    use_case: UseCaseName,
    rollout: How = "direct",
    rate: Rate = 100,
    replicas: Replicas = 2,
    env: Env = None,
    as_json: Json = False,
) -> None:
    """Rehearse a bad release: a model that every gate passes and that real outcomes refute, on a copy of all."""
    from deployments.drill.rehearsal import Rehearsal
    from flows.entry import now

    choose_environment(env)
    workspace = open_workspace(use_case)
    if not as_json:
        console.rule(f"[bold]A drill[/] ({use_case}, {rollout})", align="left")
        console.print(_ABOUT)
    rehearsal = Rehearsal(workspace, rollout, rate, replicas, now)
    moments = []
    for one in rehearsal.live_through():
        moments.append(one)
        if not as_json:
            _tell(one, workspace)
    told = _summary(moments, rehearsal.copy)
    show(told, lambda: _drawn(told), as_json)


_ABOUT = (
    "Somebody trains with the label upside down. Training, holdout and gate agree with that mistake, so the version "
    "passes; only the outcomes of real requests can tell."
)


def _tell(moment: "Moment", workspace: "Workspace") -> None:
    lines = Table.grid(padding=(0, 1))
    lines.add_column(width=7, style="dim", justify="right")
    lines.add_column(width=9, style="dim")
    lines.add_column(overflow="fold")
    said = _said(moment, workspace)
    for number, (stage, sentence) in enumerate(said):
        lines.add_row(f"{moment.seconds:.1f} s" if number == 0 else "", stage, sentence)
    if said:
        console.print(lines)


def _said(moment: "Moment", workspace: "Workspace") -> list[tuple[str, str]]:
    what = moment.what
    if isinstance(what, Entry):
        return tell([what], workspace.use_case.metrics.primary)
    if isinstance(what, str):
        return [("serve", escape(what))]
    took = f"release {what.release} answers on {what.replicas} of {what.replicas} replicas after {what.seconds:.1f} s"
    sent = moment.sent
    return [("swap", f"{took}; {sent.answered:,} requests so far, {_failed(sent.failed)}")]


def _failed(number: int) -> str:
    return f"[red]{number:,} failed[/]" if number else "[green]0 failed[/]"


def _summary(moments: "list[Moment]", copy: "Workspace") -> dict[str, Any]:
    sent, state = moments[-1].sent, copy.state()
    made, back = _first(moments, withdraws=False), _first(moments, withdraws=True)
    swapped = [one for one in moments if not isinstance(one.what, Entry | str)]
    safe = swapped[-1].seconds if back else None
    return {
        "use_case": copy.use_case.slug,
        "faulty_version": state.judged[-1].version,
        "answered": sent.answered,
        "failed": sent.failed,
        "reasons": dict(sent.reasons),
        "answered_by": {str(version): rows for version, rows in sorted(sent.versions.items())},
        "decided_after_seconds": round(back - made, 1) if made and back else None,
        "safe_after_seconds": round(safe - made, 1) if made and safe else None,
        "corrected": sum(one.rows for one in state.corrected),
        "seconds": round(moments[-1].seconds, 1),
        "storage_root": copy.settings.storage_root,
    }


def _first(moments: "list[Moment]", withdraws: bool) -> float | None:
    """When the faulty version was released, or withdrawn; `None` if it never was."""
    releases = [(one.seconds, one.what.record) for one in moments if isinstance(one.what, Entry)]
    found = (at for at, one in releases if isinstance(one, Released) and (one.withdraws is not None) is withdraws)
    return next(found, None)


def _drawn(told: dict[str, Any]) -> str:
    wrong = told["answered_by"].get(str(told["faulty_version"]), 0)
    after = told["decided_after_seconds"]
    decided = f", decided {after} s after it was made, every replica rid of it after {told['safe_after_seconds']} s"
    lines = [
        f"\n[green]Taken back by itself[/]{decided if after is not None else ''}.",
        f"{told['answered']:,} requests were answered, {_failed(told['failed'])}; {wrong:,} answers were the faulty "
        f"version's, {told['corrected']:,} of them scored again by the good one.",
        f"[dim]All of it happened in {told['storage_root']}, a copy: nothing of yours has changed.[/]",
        f"[dim]PERENNIAL_STORAGE_ROOT={told['storage_root']} perennial history {told['use_case']} tells it again.[/]",
    ]
    reasons = Counter(told["reasons"]).most_common(3)
    return "\n".join(lines + [f"[red]{count} failed: {escape(why)}[/]" for why, count in reasons])
