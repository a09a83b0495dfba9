"""Whether the online service scores what training would have: a sample of its answers computed again offline.

It compares cells and scores and names them; nobody is told and nothing is rolled back here.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from perennial.data import lake
from perennial.data.engine import Engine
from perennial.data.queries import load_reference
from perennial.data.recomputing import differences, recomputed
from perennial.errors import Permanent
from perennial.model.artifact import load_golden, load_model
from perennial.model.probe import are_near
from perennial.records import Answer, AnswersAudited, Entry, Verdict
from perennial.state import fold
from perennial.use_case import UseCase
from perennial.workspace import Workspace

MOST_ROWS = 1000
"""Of one audit."""
MOST_BATCHES = 500
"""Of one audit; the others wait for the next."""
_EXAMPLES = 3
_WHOLE = 2**32

Row = dict[str, Any]


def audit_answers(ws: Workspace, as_of: datetime) -> AnswersAudited | None:
    """Compute a sample of the collected answers that no audit has seen again, from the deliveries the service knew.

    An answer is in the sample by the hash of its id, so that no two audits draw differently; of few answers at least
    one is. Its features must be the logged ones in every cell (missing with missing, numbers to a relative 1e-9), and
    its score what the model gives such features in training, as near as golden questions have to be answered. It does
    not matter what was delivered since, nor that the event of a request may lie ahead: what counts is named by
    the answer's reference.

    Args:
        ws: Whose answers.
        as_of: The moment of the record.

    Returns:
        The record: PASS; FAIL with every feature that differs, or `score`, its rows as `differs:<feature>` under
        `numbers`; INCONCLUSIVE when what the answers rest on cannot be read any more. `None` when no answer waits, the
        use case declares no audit, or another audit was first.
    """
    serving = ws.use_case.serving
    waiting = _waiting(ws)
    if not waiting or serving is None or not serving.audit:
        return None
    verdict, rows = _compare(ws, _sample(ws, waiting, serving.audit))
    record = AnswersAudited(batches=tuple(waiting), rows=rows, verdict=verdict)

    def decision(entries: tuple[Entry, ...]) -> AnswersAudited | None:
        audited = {batch for one in fold(entries).audited for batch in one.batches}
        return None if audited & set(waiting) else record

    return record if ws.journal.decide(decision, as_of) else None


def _waiting(ws: Workspace) -> list[str]:
    state = ws.state()
    audited = {batch for one in state.audited for batch in one.batches}
    return [one.batch for one in state.collected if one.rows and one.batch not in audited][:MOST_BATCHES]


def _sample(ws: Workspace, batches: Sequence[str], share: float) -> list[Row]:
    drawn = "md5_number_lower(prediction_id) % 4294967296"
    with Engine(ws.settings) as engine:
        for table in ("requests", "predictions"):
            engine.files(table, lake.files(ws, table, "batch", batches))
        wanted = max(1, engine.scalar(f"SELECT count(*) FROM requests WHERE {drawn} < {round(share * _WHOLE)}"))
        rows = engine.table(
            "SELECT prediction_id, inputs, features, reference, score, model_version FROM requests "
            "JOIN predictions USING (prediction_id, batch) "
            f"ORDER BY {drawn}, prediction_id LIMIT {min(wanted, MOST_ROWS)}"
        )
    found: list[Row] = rows.to_pylist()
    return found


def _compare(ws: Workspace, rows: Sequence[Row]) -> tuple[Verdict, int]:
    differing: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    unread: list[str] = []
    compared = 0
    for reference, version in sorted({(row["reference"], row["model_version"]) for row in rows}):
        mine = [row for row in rows if (row["reference"], row["model_version"]) == (reference, version)]
        logged = [json.loads(row["features"]) for row in mine]
        try:
            again = recomputed(ws, load_reference(ws, reference), [_inputs(ws.use_case, row) for row in mine])
            scored = _are_scored(ws, version, logged, [row["score"] for row in mine])
        except Permanent as error:
            unread.append(f"{len(mine)} answers that rest on `{reference[:12]}` cannot be computed again: {error}")
            continue
        compared += len(mine)
        for row, before, features, is_near in zip(mine, logged, again, scored, strict=True):
            for name in (*differences(before, features), *(() if is_near else ("score",))):
                differing[name] += 1
                examples.setdefault(name, []).append(row["prediction_id"])
    numbers = {
        "rows": compared,
        "references": len({row["reference"] for row in rows}),
        "unread": len(rows) - compared,
    }
    return _verdict(numbers, differing, examples, unread), compared


def _are_scored(ws: Workspace, version: int, features: Sequence[Row], scores: Sequence[float]) -> list[bool]:
    """Whether a version scores logged features so, coded as for its training; what was not logged is missing."""
    digests = {one.version: digest for digest, one in ws.state().registered.items()}
    digest = digests.get(version, f"version {version}")
    model, golden = load_model(ws.store, digest), load_golden(ws.store, digest)
    missing = dict.fromkeys(model.encoder.features)
    again = model.score(model.encoder.table([{**missing, **row} for row in features]))
    return [bool(one) for one in are_near(model, golden, np.array(scores), again)]


def _inputs(use_case: UseCase, row: Row) -> Row:
    """A request as it was asked: JSON has no times."""
    given: Row = json.loads(row["inputs"])
    columns = use_case.sources[use_case.entity].columns
    times = {name for name, column in columns.items() if column.type == "timestamp"}
    return {name: datetime.fromisoformat(one) if one and name in times else one for name, one in given.items()}


def _verdict(
    numbers: Mapping[str, float], differing: Counter[str], examples: Mapping[str, Sequence[str]], unread: list[str]
) -> Verdict:
    counted = dict(numbers) | {f"differs:{name}": count for name, count in differing.items()}
    if differing:
        reasons = [
            f"`{name}` differs in {count} of {int(numbers['rows'])} answers from what training computes, such as "
            f"{', '.join(f'`{one}`' for one in examples[name][:_EXAMPLES])}."
            for name, count in differing.most_common()
        ]
        return Verdict(answer=Answer.FAIL, reasons=(*reasons, *unread), numbers=counted)
    if unread or not numbers["rows"]:
        return Verdict(answer=Answer.INCONCLUSIVE, reasons=tuple(unread), numbers=counted)
    same = f"{int(numbers['rows'])} answers are the same when computed from what the service knew."
    return Verdict(answer=Answer.PASS, reasons=(same,), numbers=counted)
