"""What must be true of all that was answered, given the journal and who was killed; the same after every fault."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from perennial.data import lake
from perennial.data.engine import Engine
from perennial.records import Entry, Released, RolloutEnded, RolloutStarted
from perennial.workspace import Workspace
from tests.faults.serving.bounds import BACK, KILL, SWAP
from tests.faults.serving.traffic import Request

FOREVER = float("inf")
History = Sequence[tuple[float, Entry]]
"""Entries of the journal with the moment from which each could be read: a rollback is decided for an earlier one, and
written once its target was proven to load."""


@dataclass(frozen=True)
class Reign:
    """From when to when a version may answer, and as what."""

    release: int
    version: int
    since: float
    until: float = FOREVER


@dataclass(frozen=True)
class Failures:
    """Requests that were not answered, by why; nothing else may fail."""

    of_the_model: list[Request] = field(default_factory=list)
    of_the_kill: list[Request] = field(default_factory=list)
    unexplained: list[Request] = field(default_factory=list)


def reigns(history: History, refused: Collection[int] = ()) -> list[Reign]:
    """Return who may answer when.

    A version may go on until the bound of a swap after the release that replaced it, and until that of a rollback
    after it was withdrawn. A release that no replica takes on replaces nobody.

    Args:
        history: The journal.
        refused: Numbers of releases that no replica takes on.
    """
    releases = [
        (at, one.record) for at, one in history if isinstance(one.record, Released) and one.record.number not in refused
    ]
    return [*_of_releases(releases), *_of_trials(history, releases)]


def _of_releases(releases: Sequence[tuple[float, Released]]) -> Iterator[Reign]:
    for (since, record), after in zip(releases, [*releases[1:], None], strict=True):
        until = FOREVER
        if after is not None:
            until = after[0] + (BACK if after[1].withdraws == record.number else SWAP)
        yield Reign(record.number, record.version, since, until)


def _of_trials(history: History, releases: Sequence[tuple[float, Released]]) -> Iterator[Reign]:
    for since, entry in history:
        if isinstance(entry.record, RolloutStarted):
            started = entry.record
            ended = [
                at + BACK
                for at, one in history
                if isinstance(one.record, RolloutEnded) and one.record.number == started.number
            ]
            replaced = [at + SWAP for at, one in releases if one.number > started.against_release]
            yield Reign(started.against_release, started.version, since, min([*ended, *replaced], default=FOREVER))


def astray(requests: Sequence[Request], history: History, refused: Collection[int] = ()) -> list[Request]:
    """Return the answers by what was not released or on trial at that time, or no more, the stated bounds allowed."""
    known: dict[tuple[int | None, int | None], list[Reign]] = {}
    for one in reigns(history, refused):
        known.setdefault((one.release, one.version), []).append(one)
    return [
        one
        for one in requests
        if one.is_answered
        and not any(
            reign.since <= one.arrived and one.sent <= reign.until
            for reign in known.get((one.release, one.version), ())
        )
    ]


def failures(
    requests: Sequence[Request],
    *,
    reasons: Collection[str] = (),
    while_serving: tuple[float, float] = (FOREVER, FOREVER),
    kills: Sequence[tuple[float, set[int]]] = (),
) -> Failures:
    """Return the requests that failed by why.

    Args:
        requests: All that were sent.
        reasons: What a faulty version may be to blame for, while it served.
        while_serving: From its release until the bound after it was withdrawn.
        kills: When replicas were killed, and the client's ends of the connections that they had accepted.
    """
    found = Failures()
    for one in requests:
        if one.is_answered:
            continue
        is_cut = any(one.sent <= at + KILL and at <= one.arrived and one.port in ports for at, ports in kills)
        if (
            one.status == 500
            and one.reason in reasons
            and while_serving[0] <= one.arrived
            and one.sent <= while_serving[1]
        ):
            found.of_the_model.append(one)
        elif one.status == 0 and is_cut:
            found.of_the_kill.append(one)
        else:
            found.unexplained.append(one)
    return found


def logged(ws: Workspace) -> Mapping[str, tuple[int, int, float]]:
    """Return what `predictions` holds of online answers: release, version and score by id; each is there once."""
    batches = [one.batch for one in ws.state().collected if one.rows]
    with Engine(ws.settings) as engine:
        engine.files("logged", lake.files(ws, "predictions", "batch", batches))
        rows = engine.rows("SELECT prediction_id, release, model_version, score FROM logged")
    twice = [name for name, times in Counter(one[0] for one in rows).items() if times > 1]
    assert not twice, f"logged more than once: {twice[:5]}"
    return {one[0]: (one[1], one[2], one[3]) for one in rows}


def missing(requests: Sequence[Request], known: Mapping[str, tuple[int, int, float]]) -> list[Request]:
    """Return the answers that are not in `predictions`, or stand there with another release, version or score."""
    answered = [one for one in requests if one.is_answered]
    return [one for one in answered if known.get(one.prediction_id) != (one.release, one.version, one.score)]
