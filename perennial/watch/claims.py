"""Who may train: at most one run at a time takes a request upon itself, and only while its claim is the newest.

The journal makes it so, whose numbered append lets one of many win. It trains nothing, and knows nothing of
Prefect: what became of other runs is told to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from perennial.errors import Permanent
from perennial.periods import Period, format_duration
from perennial.records import Entry, RetrainingClaimed, RetrainingEnded
from perennial.retraining import Outcome, Request
from perennial.state import State, fold
from perennial.workspace import Workspace

LEASE = timedelta(hours=24)
"""After this a holder is given up that nobody knows and that never gave a sign of life."""
TRIES = 5
"""How often a request is taken up before it is given up."""


class ClaimLost(Permanent):
    """Another run has taken the request over, or ended it: this one must stop."""


class Life(StrEnum):
    """What is known of a run that holds a claim."""

    ALIVE = "alive"
    """It runs, or is about to."""
    ENDED = "ended"
    CANCELLED = "cancelled"
    """A person ended it."""
    LOST = "lost"
    """No server says that it has ended, but it gives no sign of life any more: its process is gone."""
    UNKNOWN = "unknown"
    """Nobody ever heard of it."""


@dataclass(frozen=True)
class Runner:
    """One attempt of one run, which wants to train."""

    holder: str
    attempt: int
    now: datetime
    """When the attempt began, by the clock of the server that lives are asked from."""


@dataclass(frozen=True)
class Suppressed:
    """Why a run does not train."""

    reason: str


def request_of(state: State, period: Period, as_of: datetime) -> Request | None:
    """Return the newest request of a period and moment; `None` if the answer was to do nothing."""
    asked = [one for one in state.requests.values() if one.at == as_of and one.decided.period == period.label]
    return asked[-1] if asked else None


def decide_claim(
    request: Request, me: Runner, lives: Mapping[str, Life], again: bool = False, declaration: str = ""
) -> RetrainingClaimed | Suppressed:
    """Say whether a run may take a request upon itself, or why not.

    A claim is taken over from a run that has ended or is lost, from an earlier attempt of the same run, and from a
    run that nobody knows once its lease has run out; never from one that is alive.

    Args:
        request: As the journal has it now.
        me: Who asks.
        lives: What is known of holders; one that is missing came while this was asked, and is alive.
        again: Take up even a request that ended as refused, because a person mended something and asks again; one
            that had too few rows only where the use case is declared otherwise since.
        declaration: Digest of the use case as it is declared now.
    """
    if not request.is_open and not (again and _may_end_otherwise(request, declaration)):
        return Suppressed(_closed(request))
    held = request.claim if request.is_open else None
    if held and held.holder == me.holder:
        if held.attempt == me.attempt:
            return held
        if held.attempt > me.attempt:
            return Suppressed(f"Attempt {held.attempt} of this run holds it, and this is attempt {me.attempt}.")
    elif held and (kept := _kept(held, lives.get(held.holder, Life.ALIVE), me.now)):
        return Suppressed(kept)
    return RetrainingClaimed(
        request=request.number,
        number=len(request.claims) + 1,
        holder=me.holder,
        attempt=me.attempt,
        until=me.now + LEASE,
    )


def in_the_way(state: State, as_of: datetime, cooldown: timedelta) -> str | None:
    """Say why no further retraining may be asked for at a moment; `None` if nothing keeps it.

    One that has not ended is waited for, whatever moment it is of, and so is the cooldown around one that has:
    alerts may come late and out of order. Before the first release there is no cooldown, as each period may bring
    the rows that were missing. A moment before the newest release is past.
    """
    waiting = [one for one in state.requests.values() if one.is_open]
    if waiting:
        return f"A retraining was asked for as of {waiting[-1].at:%F %R} (entry {waiting[-1].number}) and is not done."
    withdrawn = {one.withdraws for one in state.released}
    later = [number for number, at in state.released_at.items() if at > as_of and number not in withdrawn]
    if later:
        return f"Release {later[-1]} was made for {state.released_at[later[-1]]:%F %R}, after this moment."
    near = [one for one in state.requests.values() if abs(one.at - as_of) < cooldown]
    if near and state.champion:
        return f"A retraining was asked for as of {near[-1].at:%F %R}, `cooldown` is {format_duration(cooldown)}."
    return None


def claim(
    ws: Workspace, period: Period, as_of: datetime, me: Runner, lives: Mapping[str, Life], again: bool = False
) -> RetrainingClaimed | Suppressed:
    """Take the request of a period and moment upon a run, if there is one and nobody else has it."""
    answers: list[RetrainingClaimed | Suppressed] = []

    def decision(entries: tuple[Entry, ...]) -> RetrainingClaimed | None:
        state = fold(entries)
        request = request_of(state, period, as_of)
        spec = ws.use_case.spec_digest
        answer = decide_claim(request, me, lives, again, spec) if request else Suppressed(_unasked(state, period))
        answers.append(answer)
        is_new = isinstance(answer, RetrainingClaimed) and (request is None or answer != request.claim)
        return answer if is_new and isinstance(answer, RetrainingClaimed) else None

    ws.journal.decide(decision, as_of)
    return answers[-1]


def require_claim(ws: Workspace, claimed: RetrainingClaimed) -> None:
    """Let a run go on only while its claim is the newest.

    Raises:
        ClaimLost: It is not.
    """
    request = ws.state().requests[claimed.request]
    if request.claim != claimed:
        assert request.claim
        raise ClaimLost(
            f"Claim {claimed.number} on the retraining of entry {claimed.request} of `{ws.use_case.slug}` was taken "
            f"over by claim {request.claim.number} of run {request.claim.holder}. This run ends; the other goes on."
        )


def end(ws: Workspace, claimed: RetrainingClaimed, outcome: Outcome, reason: str) -> RetrainingEnded:
    """Record how a request ended, once, by who holds it.

    Raises:
        ClaimLost: Somebody else holds it.
    """
    ended = RetrainingEnded(
        request=claimed.request,
        claim=claimed.number,
        outcome=outcome,
        reason=reason,
        declaration=ws.use_case.spec_digest,
    )

    def decision(entries: tuple[Entry, ...]) -> RetrainingEnded | None:
        request = fold(entries).requests[claimed.request]
        return ended if request.claim == claimed and request.ended != ended else None

    require_claim(ws, claimed)
    ws.journal.decide(decision, ws.state().requests[claimed.request].at)
    require_claim(ws, claimed)
    return ended


def _may_end_otherwise(request: Request, declaration: str) -> bool:
    ended = request.ended
    if ended is None:
        return False
    is_declared_otherwise = ended.outcome is Outcome.TOO_FEW_ROWS and ended.declaration != declaration
    return is_declared_otherwise or ended.outcome in (Outcome.REFUSED, Outcome.ABANDONED)


def _kept(held: RetrainingClaimed, life: Life, now: datetime) -> str | None:
    if life is Life.ALIVE:
        return f"Run {held.holder} holds it and has not ended."
    if life is Life.UNKNOWN and now < held.until:
        return f"Run {held.holder}, of which nobody has a sign of life, holds it until {held.until:%F %R}."
    return None


def _closed(request: Request) -> str:
    if request.ended is None:
        return f"Somebody trained as of {request.at:%F %R} by hand."
    return f"It ended as {request.ended.outcome}: {request.ended.reason}"


def _unasked(state: State, period: Period) -> str:
    said = [one for one in state.decided if one.period == period.label]
    return " ".join(said[-1].reasons) if said else f"Nobody asked for a retraining after {period}."
