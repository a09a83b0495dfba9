"""Whether stored features could have been computed in their time: sampled moments, from what was known then.

Where requests are answered, also without other rows of the moment, which nobody asks with them. It compares cells and
names columns; what follows from a leak is the training's decision.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from perennial.data.engine import Engine, quote, quote_text
from perennial.data.features import FeaturesQueryWrong, build_features, compute_features, snapshot_view
from perennial.data.query_parts import OBSERVATIONS
from perennial.data.views import deliveries_before, open_views
from perennial.periods import Period, Window
from perennial.records import Accepted, Answer, FeaturesBuilt, Verdict
from perennial.use_case import UseCase
from perennial.workspace import Workspace

FEWEST_MOMENTS, MOST_MOMENTS = 4, 8
"""Few rows are cheap to compute again, and each of their moments shows less."""
RELATIVE_TOLERANCE = 1e-9
_STORED = "stored_features"
_HALF = "every_second_observation"
_EPOCH = datetime.fromtimestamp(0, UTC)


class _Compared(NamedTuple):
    """How many rows were computed again, and in how many of them each column that differs does."""

    rows: int
    differing: Counter[str]


def audit(ws: Workspace, periods: Sequence[Period], as_of: datetime, seed: int = 0) -> Verdict:
    """Say whether the stored features of some periods rest only on what was known at each observation's time.

    For a few event times, drawn by the seed, the features of the observations at exactly that moment are computed
    again over views that end there, and every cell must agree with the stored one (missing with missing, numbers
    to a relative 1e-9). Corrected deliveries count as they do in the stored features: the question is what the
    query asks for, not what a source got wrong at first. With `serving`, the moment of the most rows is computed once
    more without every second of them.

    Args:
        ws: Whose features.
        periods: The periods to sample from; features that are not built yet are built.
        as_of: The moment the stored features were asked for.
        seed: Of the drawing.

    Returns:
        PASS; FAIL with the columns that differ, each with its rows as `differs:<column>` under `numbers`; INCONCLUSIVE
        when there is no row to compare.
    """
    built = [build_features(ws, period, as_of) for period in periods]
    if not built:
        return Verdict(answer=Answer.INCONCLUSIVE, reasons=("There is no period to audit.",))
    with Engine(ws.settings) as engine:
        snapshot_view(engine, ws, [one.partition for one in built], _STORED)
        moments = _sampled_moments(engine, seed, sum(one.rows for one in built))
        known = {moment: _deliveries_of(ws, built, moment, as_of) for moment in moments}
        try:
            found = {moment: _compare(engine, ws, moment, known[moment]) for moment in moments}
            crowded = max(moments, key=lambda moment: found[moment].rows, default=None)
            apart = _Compared(0, Counter())
            if crowded and ws.use_case.serving:
                apart = _compare(engine, ws, crowded, known[crowded], every_second=True)
        except FeaturesQueryWrong as error:
            reason = f"Computed from what was known then, the query does not even give its rows: {error}"
            return Verdict(answer=Answer.FAIL, reasons=(reason,))
    return _verdict(ws.use_case, [*found.values()], apart)


def _deliveries_of(ws: Workspace, built: Sequence[FeaturesBuilt], moment: datetime, as_of: datetime) -> list[Accepted]:
    window = next(one.window for one in built if one.window.start <= moment < one.window.end)
    return deliveries_before(ws, ws.state(), window.end, as_of)


def _sampled_moments(engine: Engine, seed: int, rows: int) -> list[datetime]:
    wanted = min(max(100_000 // max(rows, 1), FEWEST_MOMENTS), MOST_MOMENTS)
    drawn = engine.table(
        f"SELECT epoch_us(event_time) AS at FROM (SELECT DISTINCT event_time FROM {_STORED}) "
        f"ORDER BY md5({quote_text(str(seed))} || '/' || epoch_us(event_time)), event_time LIMIT {wanted}"
    )
    return sorted(_EPOCH + timedelta(microseconds=at) for at in drawn["at"].to_pylist())


def _compare(
    engine: Engine, ws: Workspace, moment: datetime, deliveries: Sequence[Accepted], *, every_second: bool = False
) -> _Compared:
    window = Window(start=moment, end=moment + timedelta(microseconds=1))
    open_views(engine, ws, moment, window, deliveries=deliveries)
    if every_second:
        _leave_out(engine, ws.use_case)
    columns = compute_features(engine, ws.use_case)
    key = ", ".join(quote(one) for one in ws.use_case.key)
    listed = [
        f"count(*) FILTER (WHERE {_differs(name, name in columns.numeric)}) AS {quote(name)}" for name in columns.all
    ]
    counts = engine.table(
        f'SELECT count(*) AS " rows", {", ".join(listed)} FROM computed_features n JOIN {_STORED} s '
        f"USING ({key}, event_time)"
    ).to_pylist()[0]
    return _Compared(counts.pop(" rows"), Counter({name: count for name, count in counts.items() if count}))


def _leave_out(engine: Engine, use_case: UseCase) -> None:
    """Every second row of those that are observed, from the first on."""
    order = ", ".join(quote(one) for one in use_case.key)
    engine.keep(_HALF, f"SELECT * FROM {OBSERVATIONS} QUALIFY row_number() OVER (ORDER BY {order}) % 2 = 0")
    engine.view(OBSERVATIONS, f"SELECT * FROM {_HALF}")


def _differs(column: str, numeric: bool) -> str:
    name = quote(column)
    if not numeric:
        return f"n.{name} IS DISTINCT FROM s.{name}"
    now, then = f"n.{name}", f"s.{name}"
    finite = f"isfinite({now}) AND isfinite({then})"  # to the engine NaN and infinity are greater than all else
    near = f"{finite} AND abs({now} - {then}) <= {RELATIVE_TOLERANCE} * greatest(abs({now}), abs({then}))"
    return f"({now} IS DISTINCT FROM {then}) AND NOT coalesce({near}, FALSE)"


def _verdict(use_case: UseCase, found: Sequence[_Compared], apart: _Compared) -> Verdict:
    rows, differing = sum(one.rows for one in found), sum((one.differing for one in found), Counter[str]())
    numbers: dict[str, float | None] = {"moments": len(found), "rows": rows}
    if not rows:
        return Verdict(answer=Answer.INCONCLUSIVE, reasons=("There is no row to compare.",), numbers=numbers)
    query = f"{use_case.slug}/{use_case.features}"
    reasons = [
        f"`{name}` differs in {count} of {rows} rows when computed from what was known then. Ask only for rows with "
        f"`known_at < o.event_time` in {query}."
        for name, count in differing.items()
    ]
    mixed = {name: count for name, count in apart.differing.items() if name not in differing}
    reasons += [
        f"`{name}` differs in {count} of {apart.rows} rows when others of their moment are left out, as no request is "
        f"asked with them. Ask for nothing of other rows of `{OBSERVATIONS}` in {query}."
        for name, count in mixed.items()
    ]
    if not reasons:
        same = f"{rows} rows at {len(found)} moments are the same when computed from what was known then."
        return Verdict(answer=Answer.PASS, reasons=(same,), numbers=numbers)
    counts: dict[str, float | None] = {f"differs:{name}": count for name, count in (differing | mixed).items()}
    return Verdict(answer=Answer.FAIL, reasons=tuple(reasons), numbers=numbers | counts)
