"""One process of the service: follows the journal and answers with what it says, swapped between two requests.

A version is loaded beside the one that answers; whatever fails on the way, that one goes on answering.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from threading import Event, Lock, Thread
from time import monotonic
from uuid import uuid4

from perennial.crashpoints import crashpoint
from perennial.errors import Transient
from perennial.release.reports import Report
from perennial.state import State
from perennial.workspace import Workspace
from serving.answering import Lineup, Trial, answer_questions
from serving.answers import Answer, Question
from serving.arms import STEADY
from serving.clock import now
from serving.following import Log, Status, Target, rollout_of
from serving.freshness import Freshness
from serving.loading import Loaded, load
from serving.reporting import Tally
from serving.shadowing import Shadow
from serving.telling import Trouble, tell
from serving.versions import Loader, Versions

EVERY = 0.5
"""Seconds between two looks at the journal."""
LAST = 2.0
"""Seconds that a look at the journal has to come to its end when the replica ends."""


class NotReady(Transient):
    """No version is loaded yet."""


def new_name() -> str:
    """Draw a name for a replica."""
    return uuid4().hex[:12]


class Replica:
    """Answers questions in one thread per lane, and follows the journal in another."""

    def __init__(
        self,
        ws: Workspace,
        log: Log,
        *,
        name: str = "",
        address: str = "",
        clock: Callable[[], datetime] = now,
        loader: Loader = load,
    ) -> None:
        """Prepare a replica; `start` makes it follow.

        Args:
            ws: The use case.
            log: Gets every answer.
            name: Its own, never used by another; drawn at random by default.
            address: Where it answers, for its report.
            clock: The time.
            loader: Makes a version ready; may take its time or raise.
        """
        self.ws, self.name, self.address = ws, name or new_name(), address
        self._log, self._clock = log, clock
        serving = ws.use_case.serving
        self.tally = Tally(serving.health.slower_than.total_seconds() if serving else 0.1)
        self._shadow = Shadow(self.tally, log)
        self._started_at = clock()
        self._lineup: Lineup | None = None
        self._newest: Target | None = None
        self._versions = Versions(ws, loader, clock)
        self._loading: dict[tuple[int, int], Thread] = {}
        self._journal = Trouble("journal.not-followed", replica=self.name)
        self._freshness = Freshness(ws, self.name, clock)
        self._has_looked = False
        self._followed = monotonic()
        self._swap = Lock()
        self._ending = Event()
        self._follower = Thread(target=self._follow, name="following", daemon=True)

    def start(self) -> None:
        """Begin to follow the journal."""
        self._shadow.start()
        self._follower.start()

    def wait(self, seconds: float, ending: Event) -> None:
        """Return once it is ready, once it is known that nothing is released yet, after some time, or told to end."""
        deadline = monotonic() + seconds
        while not self._may_open() and monotonic() < deadline and not ending.wait(0.02):
            pass

    def stop(self) -> None:
        """Stop following; what is loaded would still answer. A store that does not answer is not waited for."""
        self._ending.set()
        self._shadow.stop()
        self._follower.join(LAST)

    @property
    def is_ready(self) -> bool:
        return self._lineup is not None

    @property
    def trouble(self) -> str | None:
        """Why the journal cannot be followed now, or features not be made anew; it answers with what it had."""
        return self._journal.now or self._freshness.trouble.now

    @property
    def followed(self) -> float:
        """Seconds since the journal was last followed."""
        return monotonic() - self._followed

    @property
    def status(self) -> Status:
        """What answers now, and what stands in the way of something newer."""
        lineup, newest = self._lineup, self._newest
        return Status(
            head=newest.head if newest else 0,
            release=lineup.release if lineup else None,
            model=lineup.champion.model if lineup else None,
            version=lineup.champion.version if lineup else None,
            rollout=lineup.trial.number if lineup and lineup.trial else None,
            refused=dict(self._versions.refused),
            waiting=dict(self._versions.waiting),
            features_at=lineup.champion.features.as_of if lineup else None,
            newest_row_at=lineup.champion.features.newest_row_at if lineup else None,
        )

    def report(self, ended: bool = False) -> Report:
        """Return what it says of itself to whoever judges a release."""
        return Report(
            replica=self.name,
            address=self.address,
            started_at=self._started_at,
            at=self._clock(),
            ended=ended,
            counts=dict(self.tally.counts()),
            answered=self._log.answered,
            logged=self._log.logged,
            dropped=self._log.dropped,
            **asdict(self.status),
        )

    def lane(self, key: str) -> int:
        """Return where the questions of a key wait now."""
        return STEADY if self._lineup is None else self._lineup.lane(key)

    def answer(self, questions: Sequence[Question], lane: int = STEADY) -> list[Answer]:
        """Answer some questions of one lane with what is loaded at this moment, in their order.

        Raises:
            NotReady: Nothing is loaded yet.
        """
        lineup = self._lineup
        if lineup is None:
            raise NotReady(f"`{self.ws.use_case.slug}` has no version loaded yet. Ask again in some seconds.")
        return answer_questions(lineup, questions, self.tally, lane)

    def given(self, answers: Sequence[Answer]) -> None:
        """Log answers that a caller gets; while a shadow is on trial, with what it says of them."""
        trial = self._lineup.trial if self._lineup else None
        if trial and trial.kind == "shadow":
            self._shadow.give(trial, answers)
        else:
            self._log.put(answers)

    def unanswered(self, rows: int, lane: int = STEADY) -> None:
        """Hear that callers got no answer in time, which is held against the version at work in their lane."""
        self.tally.unanswered(rows, lane)

    def follow_once(self) -> None:
        """Look at the journal, and begin to load what it asks for newly. A load that takes long holds up nothing."""
        try:
            self._look()
        except Exception as error:
            self._journal.heard(error)
        else:
            self._journal.heard(None)
            self._followed = monotonic()

    def _look(self) -> None:
        state = self.ws.state()
        if state.champion is None:
            self._has_looked = True
            return
        target = self._newest = Target(state.seq, state.champion, rollout_of(state), state)
        self._loading = {place: one for place, one in self._loading.items() if one.is_alive()}
        if target.place not in self._loading and self._is_wanted(target):
            loading = Thread(target=self._reach, args=(target,), name="loading", daemon=True)
            self._loading[target.place] = loading
            loading.start()

    def _may_open(self) -> bool:
        return self.is_ready or (self._has_looked and self._newest is None)

    def _follow(self) -> None:
        while not self._ending.is_set():
            self.follow_once()
            self._ending.wait(EVERY)

    def _is_wanted(self, target: Target) -> bool:
        lineup = self._lineup
        return self._is_due(target, lineup) or bool(lineup and self._freshness.is_due(target.state, lineup))

    def _is_due(self, target: Target, lineup: Lineup | None) -> bool:
        """Whether the release or the rollout is another, or has another share, and may be tried now."""
        if lineup is None or lineup.release != target.released.number:
            return self._versions.may_try(f"release/{target.released.number}")
        number = target.rollout.started.number if target.rollout else None
        if number != (lineup.trial.number if lineup.trial else None):
            return number is None or self._versions.may_try(f"rollout/{number}")
        return bool(target.rollout and lineup.trial and lineup.trial.share != target.rollout.share)

    def _reach(self, target: Target) -> None:
        """Swap in what was asked for: the release, else the rollout beside it, else fresher features."""
        lineup = self._lineup
        if self._is_due(target, lineup) and self._advance(target, lineup):
            return
        if lineup and self._freshness.is_due(target.state, lineup):
            fresher = self._freshness.refreshed(target.state, lineup)
            if fresher and self._install(target, fresher):
                self._freshness.installed()

    def _advance(self, target: Target, lineup: Lineup | None) -> bool:
        if lineup is None or lineup.release != target.released.number:
            return self._reach_release(target) or (self._lineup is None and self._fall_back(target))
        trial = self._trial(target, lineup)
        return trial != lineup.trial and self._install(target, replace(lineup, trial=trial))

    def _reach_release(self, target: Target) -> bool:
        one = target.released
        champion = self._ready(target.state, one.model, one.version, f"release/{one.number}")
        if champion is None:
            return False
        crashpoint("serving:between-load-and-swap")
        return self._install(target, Lineup(one.number, champion, self._clock()))

    def _fall_back(self, target: Target) -> bool:
        """At the start an older good release is better than none; the newest is tried again later."""
        state = target.state
        for one in reversed(state.released[:-1]):
            if one.model == target.released.model or one.model in state.withdrawn:
                continue
            champion = self._ready(state, one.model, one.version, f"release/{one.number}")
            if champion and self._install(target, Lineup(one.number, champion, self._clock())):
                return True
        return False

    def _trial(self, target: Target, lineup: Lineup) -> Trial | None:
        rollout = target.rollout
        if rollout is None:
            return None
        started, before = rollout.started, lineup.trial
        if before and before.number == started.number:
            return replace(before, share=rollout.share)
        reason = f"rollout/{started.number}"
        challenger = self._ready(target.state, started.model, started.version, reason)
        if challenger is None:
            return before
        baseline = None
        if started.rollout == "canary":
            released = target.released
            baseline = self._ready(target.state, released.model, released.version, reason, anew=True)
            if baseline is None:
                return before
        return Trial(started.number, started.rollout, rollout.share, challenger, baseline, self._clock())

    def _ready(self, state: State, model: str, version: int, reason: str, anew: bool = False) -> Loaded | None:
        lineup = self._lineup
        return self._versions.ready(state, model, version, reason, [] if lineup is None else lineup.loaded, anew)

    def _install(self, target: Target, lineup: Lineup) -> bool:
        """Swap by one reference, unless the journal went on meanwhile: a late loader gives up."""
        with self._swap:
            now_there, newest = self._lineup, self._newest
            if newest is not None and newest.place != target.place:
                tell("swap.given-up", replica=self.name, release=lineup.release, newest=newest.released.number)
                return False
            if now_there is not None and now_there.release > lineup.release:
                return False
            self._versions.keep(now_there.loaded if now_there else [], lineup.champion)
            self._lineup = replace(lineup, previous=self._versions.previous(target.state))
        if now_there is None or now_there.release != lineup.release:
            self.tally.open(f"release/{lineup.release}", lineup.since)
            tell("swap.done", replica=self.name, release=lineup.release, version=lineup.champion.version)
        return True
