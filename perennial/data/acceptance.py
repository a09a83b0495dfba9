"""Take the rows of a landed delivery into the lake, or refuse it whole; what a contract bears is said in `refusal`.

Either good rows go to `raw_<source>` and bad ones to `quarantine`, or nothing of the delivery is written.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from perennial.data import lake
from perennial.data.contract import differences
from perennial.data.engine import Engine
from perennial.data.inspection import Findings, Inspection
from perennial.data.landing import WHOLE, fetch, open_landed
from perennial.data.refusal import Breach, breach_of_columns, breach_of_rows, explain
from perennial.data.sources import declared_source, gives_text
from perennial.digests import digest_json
from perennial.errors import Permanent, Transient
from perennial.journal import Moment, after_newest
from perennial.periods import Period
from perennial.records import Accepted, Entry, Received, Refused
from perennial.state import State, fold
from perennial.storage_trouble import naming_full_storage
from perennial.workspace import Workspace

PARTITION = "delivery"
"""Partition column of `raw_<source>` and of `quarantine`."""


class DeliveryRefused(Permanent):
    """A delivery breaks its contract beyond what is tolerated; `refused` is the record of it."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.summary)
        self.refused = refused


class SupersededDelivery(Permanent):
    """A newer revision of the delivery was accepted already."""


class OvertakenDelivery(Transient):
    """While a delivery was judged, another one with some of its keys was accepted."""


def accept(ws: Workspace, received: Received, as_of: datetime) -> Accepted:
    """Judge a landed delivery by the present contract and take its good rows into the lake.

    Rows that came are rows accepted and rows quarantined, always. The same revision under the same contract again
    changes nothing and returns its record. A refused delivery is judged again when asked, since another delivery
    that had its keys may have been corrected, but refusing it is recorded once.

    Args:
        ws: Where to.
        received: A record of `receive`.
        as_of: The moment of acceptance, UTC; a correction counts from after the newest moment of the journal, if that
            is later when it is recorded: others may have computed something while it was judged. Rows of earlier
            periods count from then too: see `State.late_from`.

    Raises:
        DeliveryRefused: Its columns, the number or age of its rows or the share of bad ones break the contract.
            Neither `raw_<source>` nor `quarantine` was touched.
        DamagedDelivery: The landed file has changed.
        SupersededDelivery: A newer revision was accepted.
        OvertakenDelivery: Another delivery with some of its keys was accepted meanwhile; try again.
        StorageFull: Nothing is visible.
    """
    source = declared_source(ws, received.source)
    state = ws.state()
    at = partial(after_newest, moment=as_of) if received.revision > 1 else as_of
    done = accepted_as(state, received, source.contract_digest)
    if done is not None:
        return done
    _must_not_be_superseded(state, received)
    with TemporaryDirectory(prefix="perennial-") as name, naming_full_storage(name):
        folder = Path(name)
        landed = fetch(ws, received, folder)
        columns = differences(source, open_landed(landed).schema_arrow, is_text=gives_text(source))
        _unless(breach_of_columns(columns, received.rows), ws, received, at)
        with Engine(ws.settings) as engine:
            period = None if received.period == WHOLE else Period.parse(received.period)
            inspection = Inspection(engine, source, landed, period, folder)
            others = _other_deliveries(state, received)
            findings = inspection.findings(others, _files(ws, received.source, others))
            _unless(breach_of_rows(source, findings, period.end if period else None), ws, received, at)
            partition = _partition(state, received, source.contract_digest, findings)
            accepted = _write(ws, received, inspection, findings, partition)
            return _record(ws, received, accepted, inspection, others, at)


def accepted_as(state: State, received: Received, contract: str) -> Accepted | None:
    """Return the newest acceptance of a delivery if it is of this revision under this contract, else `None`."""
    newest = state.delivery(received.source, received.period)
    return newest if newest is not None and _identity(newest) == _identity_under(received, contract) else None


def _identity(one: Accepted | Refused) -> tuple[str, str, int, str, str]:
    return one.source, one.period, one.revision, one.digest, one.contract


def _identity_under(received: Received, contract: str) -> tuple[str, str, int, str, str]:
    return received.source, received.period, received.revision, received.digest, contract


def _must_not_be_superseded(state: State, received: Received) -> None:
    newest = state.delivery(received.source, received.period)
    if newest is not None and newest.revision > received.revision:
        raise SupersededDelivery(
            f"Revision {newest.revision} of delivery `{received.period}` of `{received.source}` was accepted already, "
            f"so revision {received.revision} can no longer be. Nothing was written; ingest the delivery again if its "
            "older content is the right one."
        )


def _other_deliveries(state: State, received: Received) -> dict[str, str]:
    """Return the period by partition of the deliveries of other periods whose rows count."""
    periods = {one.period for one in state.accepted if one.source == received.source} - {received.period}
    newest = (state.delivery(received.source, period) for period in sorted(periods))
    return {one.partition: one.period for one in newest if one is not None and one.accepted}


def _files(ws: Workspace, source: str, deliveries: Mapping[str, str]) -> list[str]:
    return lake.files(ws, f"raw_{source}", PARTITION, list(deliveries)) if deliveries else []


def _partition(state: State, received: Received, contract: str, findings: Findings) -> str:
    """Name a partition by all that decides which rows it holds, so that the same name means the same rows."""
    name = f"{received.period}.r{received.revision}.{received.digest[:8]}.{contract[:8]}"
    if findings.shared_with:
        name += f".{digest_json(findings.shared_with)[:8]}"
    earlier = sum(_identity(one) == _identity_under(received, contract) for one in state.accepted)
    return f"{name}.{earlier + 1}" if earlier else name  # a contract that was changed back: the past keeps its own


def _write(ws: Workspace, received: Received, inspection: Inspection, findings: Findings, partition: str) -> Accepted:
    quarantined = findings.rows - findings.good
    version = lake.append(ws, f"raw_{received.source}", inspection.good_rows(), PARTITION, partition)
    if quarantined:
        lake.append(ws, "quarantine", inspection.bad_rows(received.source), PARTITION, f"{received.source}/{partition}")
    return Accepted(
        source=received.source,
        period=received.period,
        revision=received.revision,
        digest=received.digest,
        contract=ws.use_case.sources[received.source].contract_digest,
        rows=findings.rows,
        accepted=findings.good,
        quarantined=quarantined,
        reasons=findings.reasons,
        partition=partition,
        table_version=version,
        oldest=findings.oldest,
        late=findings.late,
    )


def _record(
    ws: Workspace,
    received: Received,
    accepted: Accepted,
    inspection: Inspection,
    others: Mapping[str, str],
    at: Moment,
) -> Accepted:
    def unless_overtaken(entries: Sequence[Entry]) -> Accepted:
        state = fold(entries)
        _must_not_be_superseded(state, received)
        new = {name: period for name, period in _other_deliveries(state, received).items() if name not in others}
        taken = inspection.taken_by(_files(ws, received.source, new))
        if taken:
            raise OvertakenDelivery(
                f"While delivery `{received.period}` of `{received.source}` was judged, delivery `{new[taken[0]]}` "
                "with some of its keys was accepted. Nothing of it is visible; validate it again."
            )
        return accepted

    return ws.journal.find_or_append(
        lambda entries: accepted_as(fold(entries), received, accepted.contract), unless_overtaken, at
    )


def _unless(breach: Breach | None, ws: Workspace, received: Received, at: Moment) -> None:
    if breach is None:
        return
    refused = Refused(
        source=received.source,
        period=received.period,
        revision=received.revision,
        digest=received.digest,
        contract=ws.use_case.sources[received.source].contract_digest,
        rows=received.rows,
        reasons=breach.reasons,
        summary=explain(ws.use_case, received, breach),
    )

    def unless_known(entries: Sequence[Entry]) -> Refused | None:
        known = {_identity(one) for one in fold(entries).refused}
        return None if _identity(refused) in known else refused

    ws.journal.decide(unless_known, at)
    raise DeliveryRefused(refused)
