"""What replicas report of a trial and of the release that serves, as the decisions want it; it decides nothing.

Who is there is asked of fresh reports alone. What was counted is summed over all reports, also of replicas that ended
or died: a restarted replica counts anew under another name, and what the version did before stays true.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from perennial.release.counting import added, counted
from perennial.release.health import Pulse
from perennial.release.reports import Counts, Report
from perennial.release.rollout_decision import Evidence, Losses
from perennial.state import Rollout

FRESH = timedelta(seconds=10)
"""Age up to which a report says how things are; replicas report every second."""
SILENCE = timedelta(minutes=10)
"""Age up to which a report that stopped without a farewell is a replica that fell silent; older ones are history."""
WINDOWS = tuple(timedelta(seconds=one) for one in (10, 30, 60, 300, 600))
TOGETHER = timedelta(seconds=30)
"""Replicas that fall silent within that time share a cause, such as their machine, and count once."""
LOOK_BACK = timedelta(seconds=60)

History = Sequence[tuple[datetime, Counts]]
"""What a release had counted at earlier looks, oldest first."""


def is_fresh(report: Report, now: datetime) -> bool:
    """Say whether a replica is there, as far as one can know."""
    return not report.ended and abs(now - report.at) <= FRESH


def gather(rollout: Rollout, reports: Sequence[Report], losses: Losses, now: datetime) -> Evidence:
    """Return what a trial showed so far."""
    number = rollout.started.number
    live = [one for one in reports if is_fresh(one, now)]
    what = f"rollout/{number}"
    refused = _refused(live, what)
    is_shadow = rollout.started.rollout == "shadow"
    return Evidence(
        replicas=len(live),
        taking_part=sum(one.rollout == number and one.replica not in refused for one in live),
        refused=refused,
        silent=_silent((one for one in reports if one.rollout == number), now),
        challenger=_with_differences(counted(reports, f"rollout/{number}/{rollout.started.rollout}"), losses),
        other=counted(
            reports, f"release/{rollout.started.against_release}" if is_shadow else f"rollout/{number}/baseline"
        ),
        answers_before=_answers_before(rollout),
        losses=losses,
        waiting={one.replica: one.waiting[what] for one in live if what in one.waiting},
    )


def is_refused(release: int, reports: Sequence[Report], now: datetime) -> bool:
    """Say whether replicas are there and none takes a release on."""
    live = [one for one in reports if is_fresh(one, now)]
    return bool(live) and len(_refused(live, f"release/{release}")) == len(live)


def take_pulse(
    release: int, reports: Sequence[Report], history: History, now: datetime, looks_refused: int = 0
) -> Pulse:
    """Return what is known of the release that serves."""
    live = [one for one in reports if is_fresh(one, now)]
    what = f"release/{release}"
    counts = counted(reports, what)
    recent = [one for at, one in history if now - at <= LOOK_BACK] + [counts]
    steps = [added(later, earlier) for earlier, later in pairwise(recent)]
    return Pulse(
        replicas=len(live),
        serving=sum(one.release == release for one in live),
        refused=_refused(live, what),
        silent=_silent((one for one in reports if one.release == release), now),
        counts=counts,
        windows=[added(counts, before) for span in WINDOWS if (before := _before(history, now - span)) is not None],
        looks_with_errors=sum(one.errors > 0 for one in steps),
        looks_with_slow=sum(one.slow > 0 for one in steps),
        looks_refused=looks_refused,
        waiting={one.replica: one.waiting[what] for one in live if what in one.waiting},
    )


def _with_differences(counts: Counts, losses: Losses) -> Counts:
    """A shadow compares every answer at once; what a canary was asked is compared in the lake."""
    if counts.compared:
        return counts
    apart = {name: getattr(losses, name) for name in ("compared", "difference", "squared_difference")}
    return counts.model_copy(update=apart)


def _before(history: History, moment: datetime) -> Counts | None:
    """The counts at the last look up to a moment; `None` if nobody looked so early."""
    return next((one for at, one in reversed(history) if at <= moment), None)


def _refused(live: Iterable[Report], what: str) -> dict[str, str]:
    return {one.replica: one.refused[what] for one in live if what in one.refused}


def _silent(reports: Iterable[Report], now: datetime) -> int:
    """How often replicas fell silent: those of one moment once, and again where one began after the last time."""
    lost = sorted((one for one in reports if not one.ended and FRESH < now - one.at <= SILENCE), key=lambda one: one.at)
    times, last = 0, None
    for one in lost:
        if last is None or one.started_at > last or one.at - last > TOGETHER:
            times, last = times + 1, one.at
    return times


def _answers_before(rollout: Rollout) -> int:
    if not rollout.step or rollout.verdict is None:
        return 0
    return int(rollout.verdict.numbers.get("answers") or 0)
