"""Each fault, injected while requests arrive, and what became of it; tests judge it, `time_to_safe` tabulates it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from perennial.records import Entry, Released, RolloutEnded
from perennial.release.reports import Report
from tests.builders import deliver
from tests.faults.serving import oracle
from tests.faults.serving.bounds import BACK, DECISION
from tests.faults.serving.stage import ASKED, Stage, kill, now, until_held
from tests.faults.serving.traffic import Request

AFTER = 1.5
"""Seconds of traffic after which nothing bad is expected any more."""
REFUSED = ("schema", "corrupted")
"""Faulty versions that replicas do not load."""
NO_SCORE = {"fails": {"no-score"}, "nan": {"no-score"}}
"""What a faulty version that serves is to blame for."""
HARMLESS = ("none", "kill")
"""Where the version that is released is a good one."""
LONG = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Steps of a trial that is still going on when outcomes arrive: without them nothing speaks against the version."""


@dataclass(frozen=True)
class Outcome:
    """What became of one fault."""

    fault: str
    how: str
    """`direct`, `canary`, `shadow` or `swap`: what was going on."""
    injected: float
    """Moment of the injection, seconds since 1970."""
    decided: float | None
    """Moment of the record that took the faulty version back."""
    effective: float
    """Moment at which every replica said that it is rid of it."""
    requests: Sequence[Request]
    """Those under way at the injection, and later ones."""
    version: int | None
    """Of what was injected."""
    refused: int | None = None
    """The release that no replica took on."""
    kills: Sequence[tuple[float, set[int]]] = ()
    running: float = 0.0
    """Moment at which the replica that was killed was last seen running: it was held for a while, and wrote no log."""

    @property
    def failed(self) -> list[Request]:
        return [one for one in self.requests if not one.is_answered]

    @property
    def bad(self) -> list[Request]:
        """Requests that failed, and answers of the faulty version."""
        of_it = None if self.fault in HARMLESS else self.version
        return [one for one in self.requests if not one.is_answered or one.version == of_it]

    @property
    def decision(self) -> float | None:
        """Seconds from the injection to the record that takes the faulty version back."""
        return None if self.decided is None else self.decided - self.injected

    @property
    def safe(self) -> float:
        """Seconds from the injection to the last bad answer, 0 where there was none."""
        return max((one.arrived - self.injected for one in self.bad), default=0.0)


def let_loose(stage: Stage, fault: str) -> Outcome:
    """Release a faulty version directly, and see it taken back."""
    judged = stage.models.make(fault)
    released, at = stage.release(judged)
    if fault == "quality":
        stage.until_all(lambda one: one.release == released.number)
        at = outcomes_arrive(stage)
    entry = stage.until_withdrawn(released.number)
    assert isinstance(entry.record, Released)
    back = entry.record.number
    stage.until_all(lambda one: one.release == back)
    refused = released.number if fault in REFUSED else None
    return _outcome(stage, fault, "direct", at, entry, judged.version, refused)


def try_out(stage: Stage, fault: str, how: str) -> Outcome:
    """Put a faulty version on trial, and see the trial end."""
    judged = stage.models.make(fault)
    started, at = stage.try_out(judged, how, LONG if fault == "quality" else ())
    if fault == "quality":
        stage.until_all(lambda one: one.rollout == started.number)
        at = outcomes_arrive(stage)
    entry = stage.until_ended(started.number)
    assert isinstance(entry.record, RolloutEnded)
    stage.until_all(lambda one: one.rollout is None)
    return _outcome(stage, fault, how, at, entry, judged.version)


def kill_one(stage: Stage) -> Outcome:
    """Release a good version, and kill a replica between having loaded it and answering by it."""
    (stage.folder / "armed").touch()
    judged = stage.models.make("good")
    released, _ = stage.release(judged)
    running, worker = until_held(stage.service)
    at, ports = kill(worker, stage.service.port)
    stage.until_all(_serves(released))
    outcome = _outcome(stage, "kill", "swap", at, None, judged.version, kills=[(at, ports)])
    return replace(outcome, running=running)


def swap(stage: Stage) -> Outcome:
    """Release a good version, and see every replica take it on."""
    judged = stage.models.make("good")
    released, at = stage.release(judged)
    stage.until_all(_serves(released))
    stage.until_served(released.number)
    return _outcome(stage, "none", "swap", at, None, judged.version)


def kept(stage: Stage, outcome: Outcome, refused: Collection[int] = ()) -> oracle.Failures:
    """Assert all that is promised of every fault, and return which requests failed and why.

    Args:
        stage: Where it happened.
        outcome: What became of it.
        refused: All releases so far that no replica took on.
    """
    decided = outcome.decided
    until = None if decided is None else decided + BACK
    reasons = NO_SCORE.get(outcome.fault, set()) if outcome.how == "direct" else set()
    found = oracle.failures(
        outcome.requests, reasons=reasons, while_serving=(outcome.injected, until or 0.0), kills=outcome.kills
    )
    assert found.unexplained == []
    assert oracle.astray(outcome.requests, stage.history(), refused) == []
    if outcome.decision is not None:
        assert outcome.decision <= DECISION
        assert all(one.sent <= until for one in outcome.bad)
    return found


def outcomes_arrive(stage: Stage) -> float:
    """Deliver what became of the orders that are asked about, and return the moment at which it was known."""
    deliver(stage.ws, ASKED, as_of=now())
    return now().timestamp()


def _serves(released: Released) -> Callable[[Report], bool]:
    return lambda one: one.release == released.number


def _outcome(
    stage: Stage,
    fault: str,
    how: str,
    at: float,
    entry: Entry | None,
    version: int,
    refused: int | None = None,
    kills: Sequence[tuple[float, set[int]]] = (),
) -> Outcome:
    effective = now().timestamp()
    stage.until_asked(AFTER)
    requests = [one for one in stage.traffic.requests() if one.arrived >= at]
    decided = None if entry is None else stage.written(entry)
    return Outcome(fault, how, at, decided, effective, requests, version, refused, kills)
