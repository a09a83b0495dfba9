"""What became of bad rows: list them, explain them, and judge their delivery again under a changed contract.

It decides nothing: replaying is accepting, and a row leaves quarantine only with its whole delivery.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from perennial.data import lake
from perennial.data.acceptance import PARTITION, accept, accepted_as
from perennial.data.engine import Engine, parquet
from perennial.data.landing import newest_received
from perennial.data.refusal import columns_in
from perennial.data.sources import declared_source
from perennial.errors import Permanent, nearest
from perennial.periods import Period
from perennial.records import Accepted, Received
from perennial.state import State
from perennial.workspace import Workspace


class UnknownDelivery(Permanent):
    """Nothing was received for that source and period."""


class NothingToReplay(Permanent):
    """The delivery was judged by the present contract already."""


@dataclass(frozen=True)
class QuarantinedDelivery:
    """How many rows of a delivery are in quarantine, and why."""

    source: str
    period: str
    revision: int
    rows: int
    quarantined: int
    reasons: dict[str, int]
    """Rows per reason; a row can have several."""


@dataclass(frozen=True)
class QuarantinedRow:
    """One bad row, as it came."""

    number: int
    """Its place in the delivery, from 1."""
    key: dict[str, str | None]
    event_time: datetime | None
    reasons: tuple[str, ...]
    offending: dict[str, str | None]
    """The values that the reasons are about, by column."""
    row: dict[str, str | None]


def list_quarantine(ws: Workspace) -> list[QuarantinedDelivery]:
    """Return the deliveries with rows in quarantine, by source and period, each as it was last accepted."""
    newest = {(one.source, one.period): one for one in ws.state().accepted}
    return [
        QuarantinedDelivery(one.source, one.period, one.revision, one.rows, one.quarantined, one.reasons)
        for _, one in sorted(newest.items())
        if one.quarantined
    ]


def explain(ws: Workspace, source: str, period: Period | str, limit: int = 20) -> list[QuarantinedRow]:
    """Return the first rows in quarantine of a delivery as it was last accepted, with what is wrong with them.

    Args:
        ws: Whose quarantine.
        source: A key of `sources`.
        period: The period or its label, `whole` for a reference source.
        limit: How many rows at most.

    Raises:
        UnknownDelivery: Nothing of that source and period was accepted; the message says how far it came.
    """
    declared_source(ws, source)
    state = ws.state()
    delivery = state.delivery(source, str(period))
    if delivery is None:
        raise _unknown(state, source, str(period))
    if not delivery.quarantined:
        return []
    files = lake.files(ws, "quarantine", PARTITION, [f"{source}/{delivery.partition}"])
    with Engine(ws.settings) as engine:
        rows = engine.table(f"SELECT * FROM {parquet(files)} ORDER BY row_number LIMIT ?", [limit], "quarantined rows")
    return [_as_row(one) for one in rows.to_pylist()]


def replay(ws: Workspace, source: str, period: Period | str, as_of: datetime) -> Accepted:
    """Judge the newest landed revision of a delivery again, under the present contract.

    Args:
        ws: Whose delivery.
        source: A key of `sources`.
        period: The period or its label, `whole` for a reference source.
        as_of: The moment of acceptance, UTC.

    Raises:
        UnknownDelivery: Nothing was received.
        NothingToReplay: The contract is the one that it was judged by.
        DeliveryRefused: It breaks the present contract too.
    """
    declared = declared_source(ws, source)
    state = ws.state()
    received = newest_received(state.received, source, str(period))
    if received is None:
        raise _unknown(state, source, str(period))
    if _was_judged(state, received, declared.contract_digest):
        raise NothingToReplay(
            f"Delivery `{period}` of `{source}` was judged by the present contract `{declared.contract_digest[:8]}` "
            f"already. Change `sources.{source}` in {ws.use_case.folder.parent.name}/{ws.use_case.slug}/use_case.yaml "
            "first, or correct the source and ingest it again."
        )
    return accept(ws, received, as_of)


def _was_judged(state: State, received: Received, contract: str) -> bool:
    place = (received.source, received.period, received.revision, contract)
    refused = any((one.source, one.period, one.revision, one.contract) == place for one in state.refused)
    return refused or accepted_as(state, received, contract) is not None


def _as_row(found: dict[str, Any]) -> QuarantinedRow:
    row, key = json.loads(found["row"]), json.loads(found["key"])
    about = [column for reason in found["reasons"] for column in columns_in(reason) or key]
    return QuarantinedRow(
        number=found["row_number"],
        key=key,
        event_time=found["event_time"],
        reasons=tuple(found["reasons"]),
        offending={column: row[column] for column in about},
        row=row,
    )


def _unknown(state: State, source: str, period: str) -> UnknownDelivery:
    refused = [one for one in state.refused if (one.source, one.period) == (source, period)]
    if refused:
        return UnknownDelivery(
            f"Delivery `{period}` of `{source}` was refused whole, so nothing of it is in quarantine. "
            f"{refused[-1].summary}"
        )
    if newest_received(state.received, source, period):
        return UnknownDelivery(
            f"Delivery `{period}` of `{source}` was received but not validated yet; validate it first."
        )
    known = sorted({one.period for one in state.received if one.source == source})
    hint = nearest(period, known) or f"; it has {', '.join(f'`{one}`' for one in known) or 'none'}"
    return UnknownDelivery(f"`{source}` has no delivery `{period}`{hint}")
