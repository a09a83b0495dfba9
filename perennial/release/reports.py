"""What a replica of the online service says of itself, for whoever judges a release; kept beside the journal.

A report is replaced by the next of the same replica: it is a gauge, never a decision.
"""

from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from perennial.replicas import BUCKETS_MS as BUCKETS_MS
from perennial.replicas import Counts as Counts
from perennial.replicas import Report as Report
from perennial.state import State
from perennial.store import MissingObject
from perennial.workspace import Workspace


def report_path(ws: Workspace, replica: str) -> str:
    """Return where a replica's report lies below the storage root."""
    return f"serving/{ws.use_case.slug}/replicas/{replica}.json"


def write_report(ws: Workspace, report: Report) -> None:
    """Replace a replica's report."""
    ws.store.put(report_path(ws, report.replica), report.model_dump_json().encode())


def read_reports(ws: Workspace) -> Sequence[Report]:
    """Return the report of every replica that is there or left lately, by name; unreadable ones are left out.

    What newer code says beside is passed over, as in the journal.
    """
    found = []
    for path in ws.store.list(f"serving/{ws.use_case.slug}/replicas"):
        try:
            found.append(Report.model_validate_json(ws.store.get(path), extra="ignore"))
        except (MissingObject, ValidationError):
            continue
    return found


def by_the_store(ws: Workspace, reports: Iterable[Report]) -> Sequence[Report]:
    """Return some reports with the moment at which each was written, by the store's clock instead of the replica's."""
    found = []
    for one in reports:
        try:
            found.append(one.model_copy(update={"at": ws.store.written_at(report_path(ws, one.replica))}))
        except MissingObject:
            continue
    return found


def with_departed(found: Iterable[Report], state: State) -> Sequence[Report]:
    """Return some reports, and the last ones of replicas that left long ago, which the journal keeps.

    Args:
        found: Read before the journal was, so that none is missing from both.
        state: What the journal amounts to.
    """
    newest = dict(state.departed)
    for one in found:
        if one.replica not in newest or one.at > newest[one.replica].at:
            newest[one.replica] = one
    return [newest[name] for name in sorted(newest)]
