"""How a version that passed the gate gets to serve: at once, or on trial by real requests; it judges no trial."""

from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from perennial.errors import Transient
from perennial.records import Answer, Entry, Judged, Record, Released, RolloutStarted
from perennial.release.releases import (
    NotReleasable,
    release,
    release_of,
    require_releasable,
    require_that_it_loads,
)
from perennial.release.reports import by_the_store, read_reports, with_departed
from perennial.release.rollout_evidence import SILENCE, is_fresh
from perennial.serving_spec import Serving
from perennial.state import Rollout, State, fold
from perennial.workspace import Workspace

PAST = timedelta(days=7)
"""A release for a moment that long ago is history lived through again, and of no concern to who asks now."""


class NobodyAnswers(Transient):
    """A trial is declared, and the service that would make it fell silent just now."""


class Way(NamedTuple):
    """How a version gets to serve, and why so."""

    kind: Literal["direct", "shadow", "canary"]
    reason: str


def begin(ws: Workspace, judged: Judged, as_of: datetime, now: datetime) -> Released | RolloutStarted:
    """Let a version that the gate passed serve, or begin the trial that the use case declares.

    A verdict is used once: asking again returns what it led to. Only a trial that ended undecided, as without
    traffic, begins anew when it is asked for later. A trial in the way of a newer version ends with its beginning.

    Args:
        ws: Whose version.
        judged: The gate's verdict.
        as_of: The moment it is released for.
        now: By the clock, since a trial is made of requests that come now.

    Raises:
        NotReleasable: The gate did not pass it, it does not load, or its trial showed that it is worse.
        NotApproved: It was promoted from another environment, and this one asks a person first.
        StaleVerdict: Somebody released another version first, or one for a later moment, or changed the gate.
        NobodyAnswers: The service fell silent; try again, or wait until it is known to be gone.
    """
    state = ws.state()
    done = _led_to(judged, state, as_of)
    if done is not None:
        return done
    kind = way_of(ws, state, as_of, now).kind
    if kind == "direct":
        return release(ws, judged, as_of)
    require_releasable(ws, judged, state, as_of)
    require_that_it_loads(ws, judged)

    def decision(entries: tuple[Entry, ...]) -> Record | None:
        newest = fold(entries)
        if _led_to(judged, newest, as_of) is not None:
            return None
        require_releasable(ws, judged, newest, as_of)
        return _started(ws, judged, newest, kind, now)

    ws.journal.decide(decision, now)
    found = _led_to(judged, ws.state(), as_of)
    assert found is not None
    return found


def way_of(ws: Workspace, state: State, as_of: datetime, now: datetime) -> Way:
    """Say how a version would get to serve.

    Raises:
        NobodyAnswers: The service that would make the trial fell silent just now.
    """
    serving = ws.use_case.serving
    if serving is None or serving.rollout == "direct":
        return Way("direct", "The use case declares no trial (`serving.rollout`).")
    if state.champion is None:
        return Way("direct", "It is the first version, and there is none to compare it with.")
    if now - as_of > PAST:
        return Way("direct", f"It is released for {as_of:%F %R}, long past, and requests come now.")
    found = read_reports(ws)
    reports = [*with_departed(found, state), *by_the_store(ws, found)]  # no trial is skipped because clocks differ
    if any(is_fresh(one, now) for one in reports):
        return Way(serving.rollout, "The use case declares it (`serving.rollout`), and replicas answer.")
    silent = sorted({one.replica for one in reports if not one.ended and abs(now - one.at) <= SILENCE})
    if silent:
        raise NobodyAnswers(
            f"`{ws.use_case.slug}` declares a {serving.rollout}, but its replicas ({', '.join(silent)}) fell silent in "
            f"the last {SILENCE.seconds // 60} minutes. Nothing was released; start the service again, or try later."
        )
    return Way("direct", "No replica answers, so there are no requests to try it on.")


def _led_to(judged: Judged, state: State, as_of: datetime) -> Released | RolloutStarted | None:
    released = release_of(judged, state)
    tried = _rollout_of(judged, state)
    if released is not None or tried is None:
        return released
    if tried.ended_at is None or as_of <= tried.ended_at:
        return tried.started
    if tried.verdict and tried.verdict.answer is Answer.FAIL:
        raise NotReleasable(
            f"Version {judged.version} was taken back in rollout {tried.started.number}: {tried.verdict.reasons[0]} "
            "Train another one."
        )
    return None


def _rollout_of(judged: Judged, state: State) -> Rollout | None:
    wanted = (judged.model, judged.version, judged.against_version)
    found = (
        one
        for one in reversed(state.rollouts.values())
        if (one.started.model, one.started.version, one.started.against_version) == wanted
    )
    return next(found, None)


def _started(
    ws: Workspace, judged: Judged, state: State, kind: Literal["shadow", "canary"], now: datetime
) -> RolloutStarted:
    serving, champion = ws.use_case.serving or Serving(), state.champion
    assert champion is not None
    return RolloutStarted(
        number=len(state.rollouts) + 1,
        rollout=kind,
        model=judged.model,
        version=judged.version,
        against_release=champion.number,
        against_version=champion.version,
        steps=serving.canary.steps if kind == "canary" else (serving.shadow.share,),
        deadline=now + serving.trial.deadline,
    )
