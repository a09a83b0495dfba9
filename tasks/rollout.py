"""The tasks of a trial and of what follows a rollback, and what people read of them; `perennial.release` decides."""

from datetime import datetime
from typing import NamedTuple

from perennial.records import PredictionsCorrected
from perennial.state import State
from perennial.workspace import Workspace
from tasks import policies
from tasks.artifacts import markdown_table, publish_markdown, verdict_report
from tasks.events import tell
from tasks.policies import task

_MOST = 20
"""Steps of a guard at one go: more than any trial has."""


class Guarded(NamedTuple):
    """What a guard did, and what it could not do."""

    steps: list[str]
    trouble: str | None


class Corrections(NamedTuple):
    """What was scored again, and why something was not."""

    made: list[PredictionsCorrected]
    trouble: str | None


@task(**policies.COMPUTING, task_run_name="guard what serves")
def guard_release(workspace: Workspace, now: datetime) -> Guarded:
    """Take every step that is due: where the service runs, its own guards were first."""
    from perennial.release.guarding import guard
    from perennial.release.releases import NoWayBack

    steps: list[str] = []
    try:
        while len(steps) < _MOST and (entry := guard(workspace, now)):
            steps.append(f"guard: entry {entry.seq}, {entry.record.kind}")
    except NoWayBack as error:
        return Guarded(steps, str(error))
    return Guarded(steps, None)


@task(**policies.COMPUTING, task_run_name="score again what was withdrawn")
def correct_predictions(workspace: Workspace, as_of: datetime) -> Corrections:
    """Score again what withdrawn releases wrote; what lacks a feature stays as it is, and that is said."""
    from perennial.release.corrections import NotCorrectable, affected, correct

    if not affected(workspace.journal.entries()):
        return Corrections([], None)
    before, trouble = len(workspace.state().corrected), None
    try:
        correct(workspace, as_of)
    except NotCorrectable as error:
        trouble = str(error)
    return Corrections(workspace.state().corrected[before:], trouble)


def show_corrections(workspace: Workspace, found: Corrections, as_of: datetime) -> list[str]:
    """Publish and tell what was scored again; returns it in words."""
    for one in found.made:
        tell(workspace, one, as_of)
    if found.made or found.trouble:
        about = f"{sum(one.rows for one in found.made):,} predictions scored again"
        publish_markdown(workspace.use_case.slug, "corrections", corrections_report(found), about)
    return [f"score again {one.rows:,} predictions of {one.whose}" for one in found.made]


def corrections_report(found: Corrections) -> str:
    """What was scored again, by what, and what could not be."""
    rows = [(one.whose, one.release, one.version, f"{one.rows:,}", f"`{one.batch}`") for one in found.made]
    table = markdown_table(("withdrawn", "scored by release", "version", "rows", "batch"), rows)
    return "\n\n".join(["## Predictions scored again", table, *([found.trouble] if found.trouble else [])])


def rollout_report(state: State, number: int) -> str:
    """What is on trial against what, how far it came, and the last verdict with its evidence."""
    rollout = state.rollouts[number]
    started = rollout.started
    steps = ", ".join(
        f"**{one:.0%}**" if place == rollout.step else f"{one:.0%}" for place, one in enumerate(started.steps)
    )
    facts = markdown_table(
        ("what", "which"),
        [
            ("version", f"{started.version}, against version {started.against_version}"),
            ("share of the requests", steps),
            ("began", f"{rollout.at:%Y-%m-%d %H:%M:%S}"),
            ("deadline", f"{started.deadline:%Y-%m-%d %H:%M:%S}"),
            ("ended", _end(state, number)),
        ],
    )
    title = f"## {started.rollout.capitalize()} {number} of version {started.version}"
    said = [verdict_report("Last verdict", rollout.verdict)] if rollout.verdict else []
    return "\n\n".join([title, facts, *said])


def _end(state: State, number: int) -> str:
    rollout = state.rollouts[number]
    made = next((one for one in state.released if one.rollout == number), None)
    if made is not None:
        return f"released as release {made.number}: {made.reason}"
    if rollout.is_open:
        return "not yet"
    return "taken back" if rollout.ended_at else "by another release or trial"
