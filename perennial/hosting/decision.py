"""What becomes of an image on its way to run: a pure decision on what the cluster says and what replicas counted."""

from collections.abc import Sequence
from datetime import datetime

from perennial.hosted import Hosting
from perennial.hosting.condition import Condition
from perennial.hosting.manifests import canary_pods
from perennial.release.counting import counted
from perennial.release.reports import Report
from perennial.release.rollout_decision import Evidence, decide_rollout
from perennial.release.rollout_evidence import is_fresh
from perennial.serving_spec import Serving
from perennial.values import Answer, Verdict


def decide_hosting(hosting: Hosting, found: Condition, evidence: Evidence, serving: Serving, now: datetime) -> Verdict:
    """Say whether an image may go on to its next share, or after the last one be what runs.

    Its replicas must be ready. While it has a share they must also answer no worse than the others, by the same
    checks, limits and odds as a model on trial (`serving.trial`, `serving.health`).

    Args:
        hosting: The image and how far it came.
        found: How its replicas do.
        evidence: What they answered; looked at only while it has a share.
        serving: What the use case declares.
        now: By the clock.

    Returns:
        FAIL if it is shown to be worse or its containers will not do, PASS if it has shown enough, else INCONCLUSIVE:
        also after the deadline, since that nobody followed, or a registry was away, says nothing of an image.
    """
    numbers: dict[str, float | None] = {"ready": float(found.ready), "wanted": float(found.wanted)}
    is_overdue = now >= hosting.started.deadline
    if found.answer is not Answer.PASS:
        is_late = is_overdue and found.answer is Answer.INCONCLUSIVE
        reason = f"It was not ready by its deadline: {found.reason}" if is_late else found.reason
        return Verdict(answer=found.answer, reasons=(reason,), numbers=numbers)
    if hosting.share is None:
        return Verdict(answer=Answer.PASS, reasons=(found.reason,), numbers=numbers)
    said = decide_rollout(evidence, serving, is_last=False, is_overdue=is_overdue)
    return Verdict(answer=said.answer, reasons=said.reasons, numbers={**said.numbers, **numbers})


def gather(hosting: Hosting, slug: str, reports: Sequence[Report], release: int, now: datetime) -> Evidence:
    """Return what replicas of an image on trial and the others counted for the release that answers."""
    ours = [one for one in reports if _is_canary(one, slug) and one.started_at >= hosting.at]
    others = [one for one in reports if not _is_canary(one, slug)]
    live, what = [one for one in ours if is_fresh(one, now)], f"release/{release}"
    refused = {one.replica: one.refused[what] for one in live if what in one.refused}
    return Evidence(
        replicas=len(live),
        taking_part=sum(one.release == release and one.replica not in refused for one in live),
        refused=refused,
        silent=0,  # a pod that died shows as a restart
        challenger=counted(ours, what),
        other=counted(others, what),
        answers_before=hosting.answers_before(release),
    )


def _is_canary(report: Report, slug: str) -> bool:
    """A replica's host is its pod."""
    return report.address.startswith(canary_pods(slug))
