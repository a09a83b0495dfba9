"""How the online services of an environment stand, wherever they run: what their replicas report, beside the journal.

It asks no service anything: a replica that does not report is not there. Values are plain, for people and machines.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from blocks.stack import Service, read_stack, serving_name
from perennial.records import Answer
from perennial.release.reports import Report, read_reports, with_departed
from perennial.release.rollout_evidence import SILENCE, is_fresh
from perennial.state import Rollout, State
from perennial.watch.service_findings import service_finding
from perennial.workspace import Workspace

NEWS = timedelta(days=1)
"""Age up to which a finding is shown."""


def service_of(workspace: Workspace, now: datetime) -> dict[str, Any] | None:
    """Return how the online service of a use case stands, `None` where it declares none.

    Args:
        workspace: The use case.
        now: The present moment: what a replica reported ten seconds before says nothing any more.
    """
    if workspace.use_case.serving is None:
        return None
    found = read_reports(workspace)
    state = workspace.state()
    reports = with_departed(found, state)
    live = [one for one in reports if is_fresh(one, now)]
    service = read_stack(workspace.settings).services.get(serving_name(workspace.use_case.slug))
    champion = state.champion
    told = {
        "address": _address(service, live),
        "started_here": service is not None,
        "running_here": service is not None and service.process is not None,
        "replicas": len(live),
        "ready": sum(one.release is not None for one in live),
        "silent": sum(_is_silent(one, now) for one in reports),
        "answers_by": _versions(live),
        "released": champion.number if champion else None,
        "rollout": _rollout(state.rollout, live) if state.rollout else None,
        "log_lag_rows": sum(max(one.answered - one.logged - one.dropped, 0) for one in live),
        "dropped_rows": sum(one.dropped for one in live),
        "lost_rows": sum(state.lost.values()),
        "audited_rows": sum(one.rows for one in state.audited),
        "audits_failed": sum(one.verdict.answer is Answer.FAIL for one in state.audited),
        "findings": _findings(workspace, now),
        "features_at": min((one.features_at for one in live if one.features_at), default=None),
        "newest_row_at": min((one.newest_row_at for one in live if one.newest_row_at), default=None),
        "refused": [_refusal(one, what, why) for one in live for what, why in one.refused.items()],
    }
    return {**told, "trouble": _trouble(told, state)}


def _address(service: Service | None, live: Sequence[Report]) -> str | None:
    if service and service.process:
        return service.address
    return next((one.address for one in live if one.address), None)


def _is_silent(report: Report, now: datetime) -> bool:
    return not report.ended and not is_fresh(report, now) and now - report.at <= SILENCE


def _versions(live: Sequence[Report]) -> list[dict[str, Any]]:
    """Which releases answer, each with its version and the number of replicas; more than one only while they swap."""
    found = sorted({(one.release, one.version) for one in live if one.release is not None}, reverse=True)
    return [
        {"release": release, "version": version, "replicas": sum(one.release == release for one in live)}
        for release, version in found
    ]


def _rollout(rollout: Rollout, live: Sequence[Report]) -> dict[str, Any]:
    started = rollout.started
    return {
        "number": started.number,
        "kind": started.rollout,
        "version": started.version,
        "share": rollout.share,
        "step": rollout.step + 1,
        "steps": len(started.steps),
        "replicas": sum(one.rollout == started.number for one in live),
        "verdict": rollout.verdict.answer.value if rollout.verdict else None,
        "reasons": list(rollout.verdict.reasons) if rollout.verdict else [],
        "deadline": started.deadline,
    }


def _findings(workspace: Workspace, now: datetime) -> list[dict[str, Any]]:
    """What somebody should look at, of the last day, each category once and the newest."""
    recent = (service_finding(one.record) for one in workspace.journal.entries() if now - one.at <= NEWS)
    newest = {one.category: one for one in recent if one}
    return [one.model_dump(mode="json") for one in newest.values()]


def _refusal(report: Report, what: str, why: str) -> dict[str, str]:
    return {"replica": report.replica, "what": what, "why": why}


def _trouble(told: dict[str, Any], state: State) -> str | None:
    """Say in one sentence why it does not answer as it should, `None` where it does."""
    if not told["replicas"]:
        return "no replica reports" if not told["running_here"] else "it runs, and no replica has reported yet"
    if state.champion is None:
        return "not ready: nothing has been released yet"
    newest = f"release/{state.champion.number}"
    refusals = {one["why"] for one in told["refused"] if one["what"] == newest}
    if refusals:
        return f"release {state.champion.number} was refused: {'; '.join(sorted(refusals))}"
    behind = told["replicas"] - sum(
        one["replicas"] for one in told["answers_by"] if one["release"] == state.champion.number
    )
    return f"{behind} of {told['replicas']} replicas load release {state.champion.number}" if behind else None
