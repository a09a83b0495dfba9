"""`perennial drill`: a faulty model let loose on a copy of the service and taken back, told as it happens."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from cli.arguments import Env, Json, UseCaseName, choose_environment, open_workspace
from cli.closing import registry_table, say_where, standing
from cli.output import console, errors, show
from cli.story import tell
from perennial.records import Answer, Entry, Released, RolloutEnded

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
    """Rehearse a bad release: a model that every gate passes and that real outcomes refute, on a copy of all.

    Ends with 1 where it was not taken back, a request failed, or its answers were not made good.
    """
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
    if not as_json:
        now_there = standing(workspace)
        console.print(registry_table(workspace, now_there["versions"]))
        say_where({use_case: now_there}, workspace.settings, console)
        for one in told["broken"]:
            errors.print(f"[red]{escape(one)}[/]")
    if told["broken"]:
        raise typer.Exit(1)


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
    safe = swapped[-1].seconds if back and swapped else None
    told = {
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
        "taken_back": any(_takes_back(one) for one in moments),
    }
    return {**told, "broken": _broken(told)}


def _takes_back(moment: "Moment") -> bool:
    record = moment.what.record if isinstance(moment.what, Entry) else None
    if isinstance(record, RolloutEnded):
        return record.verdict.answer is Answer.FAIL
    return isinstance(record, Released) and record.withdraws is not None


def _broken(told: dict[str, Any]) -> list[str]:
    """What was promised and not kept, a sentence each."""
    version, wrong = told["faulty_version"], told["answered_by"].get(str(told["faulty_version"]), 0)
    kept = {
        f"The faulty version {version} was not taken back.": told["taken_back"],
        f"{told['failed']:,} requests failed; none may, whatever is released.": not told["failed"],
        "No request was answered, so nothing was rehearsed.": told["answered"],
        f"None of the {wrong:,} answers of version {version} was scored again.": told["corrected"] or not wrong,
    }
    return [sentence for sentence, is_kept in kept.items() if not is_kept]


def _first(moments: "list[Moment]", withdraws: bool) -> float | None:
    """When the faulty version was released, or withdrawn; `None` if it never was."""
    releases = [(one.seconds, one.what.record) for one in moments if isinstance(one.what, Entry)]
    found = (at for at, one in releases if isinstance(one, Released) and (one.withdraws is not None) is withdraws)
    return next(found, None)


def _fate(taken_back: bool) -> str:
    return "[green]Taken back by itself[/]" if taken_back else "[red]Not taken back[/]"


def _drawn(told: dict[str, Any]) -> str:
    wrong = told["answered_by"].get(str(told["faulty_version"]), 0)
    after, safe = told["decided_after_seconds"], told["safe_after_seconds"]
    decided = "" if after is None else f", decided {after} s after it was made"
    rid = "" if safe is None else f", every replica rid of it after {safe} s"
    lines = [
        f"\n{_fate(told['taken_back'])}{decided}{rid}.",
        f"{told['answered']:,} requests were answered, {_failed(told['failed'])}; {wrong:,} answers were the faulty "
        f"version's, {told['corrected']:,} of them scored again by the good one.",
        f"[dim]All of it happened in {told['storage_root']}, a copy: nothing of yours has changed.[/]",
        f"[dim]PERENNIAL_STORAGE_ROOT={told['storage_root']} perennial history {told['use_case']} tells it again.[/]",
    ]
    reasons = Counter(told["reasons"]).most_common(3)
    return "\n".join(lines + [f"[red]{count} failed: {escape(why)}[/]" for why, count in reasons])
