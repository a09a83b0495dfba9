"""The guard of one use case: looks at everything that is known, and moves a trial or the release by one step.

Any number of guards may run beside each other, in every replica's supervisor and in flows: each step is one record,
appended only to the journal that it was decided on. What it decides, the pure decisions say.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from perennial.records import (
    Answer,
    AnswersAudited,
    AnswersCollected,
    Entry,
    ProbationEnded,
    Record,
    Released,
    ReleaseServed,
    RolloutAdvanced,
    RolloutEnded,
    RolloutStarted,
    Verdict,
)
from perennial.release.comparing import Comparisons, Question, is_on_probation, of_probation, of_trial, questions
from perennial.release.counting import counted
from perennial.release.health import decide_health
from perennial.release.probation import decide_probation
from perennial.release.releases import NoWayBack, last_good, next_release
from perennial.release.reports import Counts, Report, read_reports, with_departed
from perennial.release.rollout_decision import NO_QUALITY, Losses, decide_rollout
from perennial.release.rollout_evidence import WINDOWS, gather, is_fresh, is_refused, take_pulse
from perennial.serving_spec import Serving
from perennial.state import Rollout, State
from perennial.workspace import Workspace

LOOK = timedelta(seconds=0.9)
"""Least time between two looks that are remembered."""
REPEAT = timedelta(minutes=1)
"""Time after which a way back is looked for again where there was none."""


@dataclass
class Memory:
    """What a guard remembers between its looks; one without a memory only decides a few seconds later."""

    release: int = 0
    history: deque[tuple[datetime, Counts]] = field(default_factory=lambda: deque(maxlen=800))
    """What the release had counted at the looks of the last minutes."""
    heard: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    """By replica: the moment that its newest report says, and when that was first seen here."""
    comparisons: Comparisons = field(default_factory=Comparisons)
    """What labels showed."""
    looks_refused: int = 0
    """At how many looks in a row no replica took the release on."""
    no_way_back: dict[int, datetime] = field(default_factory=dict)
    """By release: when a way back from it was last looked for in vain."""


@dataclass(frozen=True)
class View:
    """All that is known at one look."""

    ws: Workspace
    serving: Serving
    entries: tuple[Entry, ...]
    state: State
    champion: Released
    reports: Sequence[Report]
    now: datetime
    memory: Memory
    waits: bool = True
    """Whether labels are looked at now where it is time; else what is known of them from before counts."""

    def health(self) -> Verdict:
        """Say how the release that serves does."""
        number = self.champion.number
        pulse = take_pulse(number, self.reports, self.memory.history, self.now, self.memory.looks_refused)
        has_served = number in self.state.served
        return decide_health(pulse, self.serving.health, self.serving.trial.alpha, has_served=has_served)

    def trial(self, rollout: Rollout) -> Verdict:
        """Say what a trial showed so far."""
        losses = self._losses(of_trial(self.serving, self.entries, self.state, rollout))
        return decide_rollout(
            gather(rollout, self.reports, losses or _NOT_YET, self.now),
            self.serving,
            is_last=rollout.step + 1 >= len(rollout.started.steps),
            is_overdue=self.now >= rollout.started.deadline,
        )

    def probation(self) -> Verdict | None:
        """Say how the release does on mature labels; `None` where it is not on probation."""
        if not is_on_probation(self.state):
            return None
        losses = self._losses(of_probation(self.serving, self.entries, self.state))
        return decide_probation(losses or _NOT_YET, self.serving.trial.alpha, self.ws.use_case.monitoring.min_labels)

    def knows_labels(self, rollout: Rollout) -> bool:
        """Say whether labels were looked at since a trial began, be it that none had arrived."""
        return self._losses(of_trial(self.serving, self.entries, self.state, rollout)) is not None

    def _losses(self, question: Question) -> Losses | None:
        comparisons = self.memory.comparisons
        return comparisons.made(self.ws, question, self.now) if self.waits else comparisons.known(question)


_NOT_YET = Losses(why_none="Labels were not looked at yet.")
_MEMORIES: WeakKeyDictionary[Workspace, Memory] = WeakKeyDictionary()


def guard(ws: Workspace, now: datetime, *, waits: bool = True) -> Entry | None:
    """Take at most one step: roll back, move a trial, note that a release served, or end a probation.

    Args:
        ws: The same object each time, so that what it has read is not read again.
        now: By the clock.
        waits: Whether to look at labels first where it is time, which may take a minute. Without it what
            `look_at_labels` found in another thread counts, and no trial goes on before that has looked once.

    Returns:
        The record that was appended, `None` where nothing was to be decided or somebody else was first.

    Raises:
        NoWayBack: The release that serves is ill, and there is none to go back to, or it was itself gone back to. It
            stays; this is said again every minute.
    """
    view = look(ws, now, waits=waits)
    if view is None:
        return None
    for step in (_roll_back, _move_rollout, _note_service, _end_probation):
        record = step(view)
        if record is not None:
            return _append(view, record)
    return None


def _append(view: View, record: Record) -> Entry | None:
    """Append what was decided, unless something else was decided meanwhile: collecting and auditing decide nothing.

    A release may be for a moment that this clock has not reached; what is decided about it is for no earlier one.
    """

    def decision(entries: tuple[Entry, ...]) -> Record | None:
        news = entries[len(view.entries) :]
        return record if all(isinstance(one.record, AnswersCollected | AnswersAudited) for one in news) else None

    return view.ws.journal.decide(decision, max(view.now, view.state.released_at[view.champion.number]))


def look_at_labels(ws: Workspace, now: datetime) -> None:
    """Compare what is due, for a guard of the same workspace in another thread that waits for nothing."""
    serving, entries = ws.use_case.serving, ws.journal.entries()
    if serving is None:
        return
    comparisons = _MEMORIES.setdefault(ws, Memory()).comparisons
    for question in questions(serving, entries, ws.state_of(entries)):
        comparisons.made(ws, question, now)


def look(ws: Workspace, now: datetime, *, waits: bool = True) -> View | None:
    """Read all that is known; `None` where nothing answers online: no `serving` is declared, or nothing released."""
    serving = ws.use_case.serving
    found = read_reports(ws)
    entries = ws.journal.entries()
    memory = _MEMORIES.setdefault(ws, Memory())
    state = ws.state_of(entries)
    champion = state.champion
    if serving is None or champion is None:
        return None
    reports = [_by_this_clock(one, memory.heard, now) for one in with_departed(found, state)]
    view = View(ws, serving, entries, state, champion, reports, now, memory, waits)
    _remember(view)
    return view


def _by_this_clock(report: Report, heard: dict[str, tuple[datetime, datetime]], now: datetime) -> Report:
    """A report with the moment at which it was seen to change, whatever the clock of its replica says.

    One that is seen for the first time is taken at its word.
    """
    said, at = heard.get(report.replica, (report.at, report.at))
    if said != report.at:
        at = now
    heard[report.replica] = (report.at, at)
    return report.model_copy(update={"at": at, "started_at": report.started_at + (at - report.at)})


def _remember(view: View) -> None:
    memory, number = view.memory, view.champion.number
    if memory.release != number:
        memory.release, memory.looks_refused = number, 0
        memory.history.clear()
    if not memory.history or view.now - memory.history[-1][0] >= LOOK:
        memory.history.append((view.now, counted(view.reports, f"release/{number}")))
        memory.looks_refused = memory.looks_refused + 1 if is_refused(number, view.reports, view.now) else 0
    while view.now - memory.history[0][0] > 2 * WINDOWS[-1]:
        memory.history.popleft()


def _roll_back(view: View) -> Record | None:
    why = _why_back(view)
    last = view.memory.no_way_back.get(view.champion.number)
    if why is None or (last is not None and view.now - last < REPEAT):
        return None
    try:
        _require_blame(view, why)
        target = last_good(view.ws, view.state)
    except NoWayBack:
        view.memory.no_way_back[view.champion.number] = view.now
        raise
    return next_release(view.ws, view.entries, target.model, target.version, why, withdraws=view.champion.number)


def _require_blame(view: View, why: str) -> None:
    """Only a release that nobody went back to is to blame: what was gone back to did well before.

    So an outage costs one version at most, however long it lasts and however often it comes again.

    Raises:
        NoWayBack: The release was gone back to.
    """
    if view.champion.withdraws is not None:
        raise NoWayBack(
            f"Release {view.champion.number} of `{view.ws.use_case.slug}` is ill, and it was gone back to from release "
            f"{view.champion.withdraws}: version {view.champion.version} did well before, so the cause is another "
            f"than the version, and it stays. Look at what it rests on, or go back by hand. {why}"
        )


def _why_back(view: View) -> str | None:
    ended = view.state.probations.get(view.champion.number)
    if ended is not None and ended.verdict.answer is Answer.FAIL:
        return f"Probation: {ended.verdict.reasons[0]}"
    health = view.health()
    return f"Health: {health.reasons[0]}" if health.answer is Answer.FAIL else None


def _move_rollout(view: View) -> Record | None:
    rollout = view.state.rollout
    if rollout is None:
        return None
    started, verdict = rollout.started, view.trial(rollout)
    if verdict.answer is Answer.FAIL or view.now >= started.deadline:
        return RolloutEnded(number=started.number, verdict=verdict)
    if verdict.answer is not Answer.PASS or not view.knows_labels(rollout):
        return None
    if rollout.step + 1 < len(started.steps):
        return RolloutAdvanced(number=started.number, step=rollout.step + 1, verdict=verdict)
    unseen = f" {NO_QUALITY}" if any(one.startswith(NO_QUALITY) for one in verdict.reasons) else ""
    why = f"It passed its {started.rollout}: {verdict.reasons[0]}{unseen} {_gate_said(view.state, started)}".rstrip()
    return next_release(view.ws, view.entries, started.model, started.version, why, rollout=started.number)


def _gate_said(state: State, started: RolloutStarted) -> str:
    passed = (one.verdict for one in reversed(state.judged) if one.model == started.model)
    return next((one.reasons[0] for one in passed if one.answer is Answer.PASS and one.reasons), "")


def _note_service(view: View) -> Record | None:
    number = view.champion.number
    if number in view.state.served or view.health().answer is not Answer.PASS:
        return None
    live = [one for one in view.reports if is_fresh(one, view.now) and one.release == number]
    counts = counted(view.reports, f"release/{number}")
    return ReleaseServed(release=number, answers=counts.answers, replicas=tuple(sorted(one.replica for one in live)))


def _end_probation(view: View) -> Record | None:
    verdict = view.probation()
    if verdict is None or verdict.answer is Answer.INCONCLUSIVE:
        return None
    return ProbationEnded(release=view.champion.number, verdict=verdict)
