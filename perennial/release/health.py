"""Whether the version that serves answers in good health: a pure decision on what its replicas counted.

It compares with what the use case declares (`serving.health`), since nothing of equal age answers beside it. It
reads nothing and rolls nothing back.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import log

from perennial.release.checks import Check, bad, doubt, good, verdict_of
from perennial.release.counting import independent
from perennial.release.reports import Counts
from perennial.release.rollout_decision import SILENT, odds, share, threshold, told
from perennial.release.sequential import rate_above
from perennial.serving_spec import Health
from perennial.values import Verdict

RARE = log(1e8)
"""Evidence that a window has to give: windows begin every second, and so raise a false alarm once in 1e8 seconds."""
LOOKS = 3
"""Looks, a second apart, on which the trouble was seen: one pause that hits a large request is none."""


@dataclass(frozen=True)
class Pulse:
    """What is known of the release that serves."""

    replicas: int
    """That reported just now."""
    serving: int
    """Of these: answer by it."""
    refused: Mapping[str, str]
    """Of these: why not, by replica, through its own fault."""
    silent: int
    """How often replicas that answered by it fell silent in the last minutes without taking leave."""
    counts: Counts
    """What it did since it was released, over all replicas that ever answered by it."""
    windows: Sequence[Counts] = ()
    """What it did of late, in windows of several lengths."""
    looks_with_errors: int = 0
    """Of the last looks, how many saw further answers fail."""
    looks_with_slow: int = 0
    looks_refused: int = 0
    """How many looks in a row, this one included, no replica took it on."""
    waiting: Mapping[str, str] = field(default_factory=dict)
    """Of the replicas: why they could not take it on yet, through no fault of its own."""


def decide_health(pulse: Pulse, health: Health, alpha: float, *, has_served: bool) -> Verdict:
    """Say whether a release answers in good health; whether going back would help, the guard knows.

    Args:
        pulse: What replicas reported.
        health: Declares the limits.
        alpha: Chance that a healthy release is ever found ill on its counts since it was made.
        has_served: Whether it was in good health before.

    Returns:
        PASS once it gave `min_answers` within the limits, FAIL if it is shown to be beyond them, else INCONCLUSIVE.
    """
    return verdict_of([*_on_replicas(pulse, has_served), *_on_rates(pulse, health, alpha)])


def _on_replicas(pulse: Pulse, has_served: bool) -> Iterator[Check]:
    if pulse.silent >= SILENT and not has_served:
        yield bad(f"{pulse.silent} times replicas fell silent after they had taken it on.", silent=pulse.silent)
    if not pulse.replicas:
        yield doubt("No replica has reported just now.", replicas=0)
    elif len(pulse.refused) >= pulse.replicas:
        said = bad if pulse.looks_refused >= LOOKS else doubt
        yield said(f"None of {pulse.replicas} replicas takes it on: {told(pulse.refused)}", replicas=pulse.replicas)
    elif not pulse.serving:
        why = f": {told(pulse.waiting)}" if pulse.waiting else "."
        yield doubt(f"None of {pulse.replicas} replicas answers by it yet{why}", replicas=pulse.replicas)
    else:
        yield good(f"{pulse.serving} of {pulse.replicas} replicas answer by it.", replicas=pulse.replicas)


def _on_rates(pulse: Pulse, health: Health, alpha: float) -> Iterator[Check]:
    counts = pulse.counts
    if counts.answers < health.min_answers:
        yield doubt(f"It gave {counts.answers:,} answers, {health.min_answers:,} say something.")
    for what, name, limit, looks in (
        ("failed", "errors", health.errors, pulse.looks_with_errors),
        ("were slow", "slow", health.slow, pulse.looks_with_slow),
    ):
        worst, found = _worst(pulse, name, limit, health.min_answers, threshold(alpha, 2))
        count = getattr(worst, name)
        said = f"{count:,} of {worst.answers:,} answers {what}; {limit:.2%} are allowed."
        numbers = {name: share(count, worst.answers)}
        if found is not None and looks >= LOOKS:
            yield bad(f"{said} {odds(found)}", **numbers)
        elif found is not None or (share(count, worst.answers) or 0.0) > limit:
            yield doubt(f"{said} It may be chance.", **numbers)
        else:
            yield good(said, **numbers)


def _worst(
    pulse: Pulse, name: str, limit: float, min_answers: int, since_release: float
) -> tuple[Counts, float | None]:
    """Return the counts that speak most against it, with their evidence if it is enough."""
    bounds = [(pulse.counts, since_release), *((one, RARE) for one in pulse.windows)]
    enough = [(one, bound) for one, bound in bounds if one.answers >= min_answers]
    trials = [(independent(one), bound, one) for one, bound in enough]
    found = [(rate_above(getattr(rate, name), rate.answers, limit), bound, one) for rate, bound, one in trials]
    ill = [(evidence, one) for evidence, bound, one in found if evidence >= bound]
    if ill:
        evidence, worst = max(ill, key=lambda one: one[0])
        return worst, evidence
    return pulse.counts, None
