"""How what takes minutes ends: with the registry's state, where the reports are, and how to look at the rest."""

from typing import Any

from rich.console import Console
from rich.table import Table

from blocks.stack import MLFLOW, PREFECT, read_stack
from cli.story import show
from perennial.records import Judged
from perennial.settings import Settings
from perennial.state import State
from perennial.workspace import Workspace


def standing(workspace: Workspace) -> dict[str, Any]:
    """Return the versions of a use case and its newest report."""
    state = workspace.state()
    reports = [one.report for one in state.measured if one.report]
    return {
        "versions": [_version(state, judged, workspace.use_case.metrics.primary) for judged in state.judged],
        "report": workspace.store.uri(reports[-1]) if reports else None,
    }


def _version(state: State, judged: Judged, primary: str) -> dict[str, Any]:
    training = state.training_of(judged.model)
    fits = training.candidates if training else ()
    kept = next((fit for fit in fits if fit.model == judged.model), None)
    return {
        "version": judged.version,
        "until": training.holdout.end.date().isoformat() if training else "unknown",
        "candidate": kept.name if kept else "unknown",
        "score": show(kept.metrics.get(primary)) if kept else "unknown",
        "gate": judged.verdict.answer.value,
        "role": _role(state, judged.version),
    }


def _role(state: State, version: int) -> str:
    if state.champion and version == state.champion.version:
        return "champion"
    return "retired" if version in {one.version for one in state.released} else "refused"


def registry_table(workspace: Workspace, versions: list[dict[str, Any]]) -> Table:
    """Draw the versions of a use case."""
    title = f"\nRegistry of {workspace.use_case.slug}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for name in ("version", "until", "candidate", workspace.use_case.metrics.primary, "gate", "role"):
        table.add_column(name, overflow="fold")
    for one in versions:
        table.add_row(*map(str, one.values()), style="bold green" if one["role"] == "champion" else None)
    return table


def say_where(summary: dict[str, Any], settings: Settings, console: Console) -> None:
    """Say where the reports of some use cases are, and how to look at the rest."""
    console.print()
    for slug, found in summary.items():
        took = f"{found['seconds']} s; " if "seconds" in found else ""
        newest = f"newest report {found['report']}" if found["report"] else "no report yet"
        console.print(f"{slug}: {took}{newest}", soft_wrap=True)
    addresses = [one.address for name, one in read_stack(settings).services.items() if name in (PREFECT, MLFLOW)]
    looked_at = f"Look at it in {' and '.join(addresses)}" if addresses else "`perennial up` lets you look at it"
    console.print(f"{looked_at}: Prefect (runs, artifacts) and MLflow (models, plots).", soft_wrap=True)
    console.print("`.venv/bin/perennial history <use case>` tells what served when, and why.", soft_wrap=True)
