"""Which versions are to be compared on labels now, and what the last comparison of each showed.

A comparison reads all that was logged and may take a minute, so it is made again only when it is worth it, and the
service makes it beside the guard, which goes on looking at health meanwhile. It decides nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from perennial.errors import Permanent
from perennial.records import AnswersCollected, Entry, Record, Released
from perennial.release.paired_losses import Comparison, compare
from perennial.release.rollout_decision import Losses
from perennial.serving_spec import Serving
from perennial.state import Rollout, State
from perennial.workspace import Workspace

COMPARING, LATER = timedelta(seconds=10), timedelta(minutes=10)
"""Labels are looked at as of every tenth second, and as of every tenth minute once that has gone on for as long."""


@dataclass(frozen=True)
class Question:
    """What is to be compared, and what it is about: a trial, or a release on probation."""

    about: str
    comparison: Comparison


class Comparisons:
    """What the last comparison of each question showed; the thread that compares and the guard's share it."""

    def __init__(self) -> None:
        self._since: dict[str, datetime] = {}
        self._found: dict[str, tuple[datetime, Losses]] = {}

    def known(self, question: Question) -> Losses | None:
        """Return what is known without comparing anything; `None` before the first comparison."""
        found = self._found.get(question.about)
        return found[1] if found else None

    def made(self, ws: Workspace, question: Question, now: datetime) -> Losses:
        """Compare again if it is time, and return what is known then.

        Versions that cannot be compared have no losses, and `Losses.why_none` says why.
        """
        began = self._since.setdefault(question.about, now)
        every = COMPARING if now - began < LATER else LATER
        as_of = now - (now - now.min.replace(tzinfo=now.tzinfo)) % every
        known = self._found.get(question.about)
        if known is None or known[0] < as_of:
            known = self._found[question.about] = (as_of, _compared(ws, question.comparison, as_of))
        return known[1]


def questions(serving: Serving, entries: Sequence[Entry], state: State) -> list[Question]:
    """Return what labels are asked about now: the version on trial, and the release on probation."""
    trial = [of_trial(serving, entries, state, state.rollout)] if state.rollout else []
    probation = [of_probation(serving, entries, state)] if is_on_probation(state) else []
    return trial + probation


def is_on_probation(state: State) -> bool:
    """Say whether mature labels may still take back the release that serves."""
    champion = state.champion
    is_free = champion is None or champion.withdraws is not None or len(state.released) < 2
    return not is_free and champion.number not in state.probations  # type: ignore[union-attr]


def of_trial(serving: Serving, entries: Sequence[Entry], state: State, rollout: Rollout) -> Question:
    """Return what labels are asked about a version on trial: how it does against the release that it is tried with."""
    started = rollout.started
    old = next(one.model for one in state.released if one.number == started.against_release)
    condition = f"rollout = {started.number}"
    about = f"rollout/{started.number}"
    return _question(about, serving, entries, state, started, (started.model, old), condition)


def of_probation(serving: Serving, entries: Sequence[Entry], state: State) -> Question:
    """Return what labels are asked about the release that serves: how it does against the one that it replaced."""
    previous, champion = state.released[-2:]
    condition = f"release = {champion.number} AND model_version = {champion.version}"
    about = f"release/{champion.number}"
    return _question(about, serving, entries, state, champion, (champion.model, previous.model), condition)


def _question(
    about: str,
    serving: Serving,
    entries: Sequence[Entry],
    state: State,
    since: Record,
    models: tuple[str, str],
    condition: str,
) -> Question:
    new, old = models
    trained = state.training_of(new)
    comparison = Comparison(
        new=new,
        old=old,
        batches=_collected_since(entries, since),
        condition=condition,
        holdout=trained.holdout if trained else None,
        max_loss=serving.trial.max_loss,
        mature=isinstance(since, Released),
    )
    return Question(about, comparison)


def _compared(ws: Workspace, comparison: Comparison, as_of: datetime) -> Losses:
    try:
        return compare(ws, comparison, as_of)
    except Permanent as error:  # labels then say nothing, and all else is still decided
        return Losses(limit=comparison.max_loss, why_none=f"The versions cannot be compared: {error}")


def _collected_since(entries: Sequence[Entry], record: Record) -> list[str]:
    """The batches of answers that were collected after a record was written."""
    found: list[str] = []
    for entry in reversed(entries):
        if entry.record is record:
            break
        if isinstance(entry.record, AnswersCollected) and entry.record.rows:
            found.append(entry.record.batch)
    return found[::-1]
