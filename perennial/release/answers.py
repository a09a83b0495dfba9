"""Answers of the online service, moved from the log of its replicas into the lake, each once.

The journal's record is what counts: rows that no record names are never read, and a segment is deleted only after a
record names it. So any number of collectors may run, and each may die anywhere.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pyarrow as pa

from perennial.crashpoints import crashpoint
from perennial.data import lake
from perennial.digests import digest_json
from perennial.errors import Permanent
from perennial.records import AnswersCollected, Entry
from perennial.release.answer_rows import (
    UnreadSegment,
    aside_folder,
    aside_path,
    log_folder,
    prediction_part,
    read_segment,
    request_part,
    runs_of,
    segment_of,
)
from perennial.release.reports import Report, by_the_store, read_reports, report_path
from perennial.state import State
from perennial.store import MissingObject
from perennial.workspace import Workspace

MOST = 2000
"""Segments of one batch."""
_AT_ONCE = 16
SILENT = timedelta(seconds=60)
"""After which a replica that took no leave counts as dead, and the report of one that did is cleared away."""


class SegmentsSetAside(Permanent):
    """Some segments do not hold answers of the use case; all others were collected."""


def collect_answers(ws: Workspace, as_of: datetime) -> AnswersCollected | None:
    """Move the segments that no record names into `predictions` and `requests`, each batch as one partition of both.

    Returns:
        The last record, `None` if there was nothing to move or another collector was first.

    Raises:
        LakeBusy: Another writer committed at the same moment; try again.
        SegmentsSetAside: What cannot be read lies elsewhere, now or since an earlier time, and all else was moved.
    """
    found = ws.store.list(log_folder(ws))
    state = ws.state()
    named = _named(found, state)
    for path in named:
        ws.store.delete(path)
    waiting = [path for path in found if path not in named]
    gone, record = _gone(ws, state, as_of, waiting), None
    for first in range(0, max(len(waiting), 1), MOST):
        rows = _rows(ws, waiting[first : first + MOST])
        record = _collect(ws, rows, [] if first else gone, as_of) or record
    _require_none_aside(ws)
    return record


def _require_none_aside(ws: Workspace) -> None:
    aside = ws.store.list(aside_folder(ws))
    if not aside:
        return
    try:
        read_segment(ws.use_case, ws.store.get(aside[0]))
        why = "It can be read by now."
    except UnreadSegment as error:
        why = str(error)
    raise SegmentsSetAside(
        f"`{ws.use_case.slug}`: {len(aside)} segments of answers could not be read and lie below `{aside_folder(ws)}`, "
        f"the first `{aside[0]}`: {why} All others were collected. Once the declaration fits them, move them back "
        f"below `{log_folder(ws)}`, or remove them for good."
    )


def _rows(ws: Workspace, segments: Sequence[str]) -> dict[str, pa.Table]:
    """Return what some segments hold; nothing if another collector has recorded and deleted one meanwhile.

    What cannot be read is moved out of the way of the others.
    """
    rows = {}
    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            held = list(pool.map(ws.store.get, segments))
    except MissingObject:
        return {}
    for path, data in zip(segments, held, strict=True):
        try:
            rows[path] = read_segment(ws.use_case, data)
        except UnreadSegment:
            ws.store.put(aside_path(ws, path), data)
            ws.store.delete(path)
    return rows


def _collect(
    ws: Workspace, rows: Mapping[str, pa.Table], gone: Sequence[Report], as_of: datetime
) -> AnswersCollected | None:
    if not rows and not gone:
        return None
    state, segments = ws.state(), list(rows)
    record = _record(ws, rows, [_kept(one, state) for one in gone])
    crashpoint("collecting:before-record")

    def decision(entries: tuple[Entry, ...]) -> AnswersCollected | None:
        present = ws.state_of(entries)
        is_told = any(_is_told(one, present) for one in gone)
        return None if is_told or _named(segments, present) else record

    if ws.journal.decide(decision, as_of) is None:
        return None
    crashpoint("collecting:after-record")
    for path in [*segments, *(report_path(ws, one.replica) for one in gone)]:
        ws.store.delete(path)
    return record


def _named(paths: Sequence[str], state: State) -> set[str]:
    """Of some segments those that a record names."""
    waiting = {path: segment_of(path) for path in paths}
    replicas = {replica for replica, _ in waiting.values()}
    records = [one for one in state.collected if not replicas.isdisjoint(one.segments)]
    return {path for path, segment in waiting.items() if any(one.holds(*segment) for one in records)}


def _gone(ws: Workspace, state: State, as_of: datetime, segments: Sequence[str]) -> list[Report]:
    """Return the reports of replicas that left or fell silent for too long, once no segment of theirs is left.

    One whose clock is late goes on writing, so the store's clock has to say the same. What the journal kept of one
    before, and is still there because a collector died, is deleted.
    """
    waiting = {path.split("/")[-2] for path in segments}
    quiet = [one for one in read_reports(ws) if one.at < as_of - SILENT and one.replica not in waiting]
    writing = {one.replica for one in by_the_store(ws, quiet) if one.at >= as_of - SILENT}
    silent = [one for one in quiet if one.replica not in writing]
    for one in silent:
        if _is_told(one, state):
            ws.store.delete(report_path(ws, one.replica))
    return [one for one in silent if not _is_told(one, state)]


def _is_told(report: Report, state: State) -> bool:
    known = state.departed.get(report.replica)
    return known is not None and known.at >= report.at


def _kept(report: Report, state: State) -> Report:
    """A report without what nobody will ask about any more."""
    release, rollout = state.champion, state.rollout
    of_interest = (
        f"release/{release.number}" if release else "no release",
        f"rollout/{rollout.started.number}/" if rollout else "no rollout",
    )
    counts = {name: one for name, one in report.counts.items() if name.startswith(of_interest)}
    return report.model_copy(update={"counts": counts, "refused": {}, "waiting": {}})


def _lost(report: Report) -> int:
    return max(0, report.answered - report.logged)


def _record(ws: Workspace, tables: Mapping[str, pa.Table], gone: Sequence[Report]) -> AnswersCollected:
    names = [[one.replica, one.at.isoformat()] for one in gone]
    batch = f"online.{digest_json([list(tables), names])[:16]}"
    version, versions, rows = lake.version(ws, "predictions") or 0, dict[int, int](), 0
    if tables:
        all_rows = pa.concat_tables(tables.values())
        rows, versions = all_rows.num_rows, dict(Counter(all_rows["model_version"].to_pylist()))
        lake.append(ws, "requests", request_part(all_rows), "batch", batch)
        crashpoint("collecting:between-tables")
        version = lake.append(ws, "predictions", prediction_part(ws.use_case, all_rows), "batch", batch)
    return AnswersCollected(
        batch=batch,
        segments=runs_of(tables),
        rows=rows,
        versions=versions,
        lost={one.replica: _lost(one) for one in gone if not one.ended},
        departed={one.replica: one for one in gone},
        table_version=version,
    )
