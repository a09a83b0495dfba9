"""Signs of life of runs that hold a claim: one small object per run, rewritten while it works.

What a server says of a run is not enough: one whose process was killed in a terminal stays *Running* for ever, since
nothing there waits for its heartbeats. A sign is a gauge, never a decision; who may train, the journal says.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from threading import Event, Thread

from perennial.periods import format_duration
from perennial.retraining import Request
from perennial.store import MissingObject
from perennial.watch.claims import Life
from perennial.workspace import Workspace

EVERY = timedelta(seconds=20)
SILENCE = timedelta(minutes=5)
"""After this without a sign a run counts as lost: many signs, and more than clocks of machines differ."""


def give_sign(ws: Workspace, holder: str, at: datetime) -> None:
    """Say that a run is alive."""
    ws.store.put(_path(ws, holder), at.isoformat().encode())


def last_sign(ws: Workspace, holder: str) -> datetime | None:
    """Return when a run was alive last; `None` for one that never said so."""
    try:
        return datetime.fromisoformat(ws.store.get(_path(ws, holder)).decode())
    except MissingObject:
        return None


def forget_signs(ws: Workspace, holder: str) -> None:
    """Remove the signs of a run that holds nothing any more."""
    ws.store.delete(_path(ws, holder))


def life_by_signs(ws: Workspace, holder: str, now: datetime) -> Life:
    """Say what its signs tell of a run that no server knows to have ended."""
    sign = last_sign(ws, holder)
    if sign is None:
        return Life.UNKNOWN
    return Life.ALIVE if now - sign < SILENCE else Life.LOST


@contextmanager
def giving_signs(ws: Workspace, holder: str, clock: Callable[[], datetime], every: timedelta = EVERY) -> Iterator[None]:
    """Say again and again that a run is alive, the first time before anything else; its process's death ends it.

    Whatever goes wrong with a sign, it is tried again with the next. The signs of a run that came to its end are
    forgotten; those of one that failed tell others when to take over what it may hold still.
    """
    give_sign(ws, holder, clock())
    over = Event()

    def repeat() -> None:
        while not over.wait(every.total_seconds()):
            with suppress(Exception):
                give_sign(ws, holder, clock())

    thread = Thread(target=repeat, name=f"signs of life of {holder}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    with suppress(Exception):
        forget_signs(ws, holder)


def why_unfinished(ws: Workspace) -> str | None:
    """Tell a person of the newest retraining that was asked for and is not done; `None` if there is none."""
    waiting = [one for one in ws.state().requests.values() if one.is_open]
    return _why_unfinished(ws, waiting[-1]) if waiting else None


def _why_unfinished(ws: Workspace, request: Request) -> str:
    asked = f"The retraining that was asked for as of {request.at:%F %R} is not done"
    if request.claim is None:
        return f"{asked}: nobody has taken it up. Run the same again."
    sign = last_sign(ws, request.claim.holder)
    if sign is None:
        return f"{asked}: run {request.claim.holder} holds it until {request.claim.until:%F %R} (UTC)."
    return (
        f"{asked}: run {request.claim.holder} holds it, with its last sign of life at {sign:%F %T} (UTC). If that "
        f"process is gone, run the same again after {sign + SILENCE:%F %T}: a run counts as lost after "
        f"{format_duration(SILENCE)} of silence."
    )


def _path(ws: Workspace, holder: str) -> str:
    return f"retraining/{ws.use_case.slug}/signs/{holder}"
