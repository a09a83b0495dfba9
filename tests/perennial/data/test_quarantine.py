from pathlib import Path

import pytest

from perennial.data.acceptance import DeliveryRefused
from perennial.data.landing import receive
from perennial.data.quarantine import NothingToReplay, UnknownDelivery, explain, list_quarantine, replay
from perennial.data.sources import UnknownSource
from perennial.workspace import Workspace
from tests.perennial.data.parcels import (
    COLUMNS,
    FEBRUARY,
    JANUARY,
    declare,
    deliver,
    give,
    good_rows,
    open_parcels,
    stored,
    with_values,
)

WIDER = COLUMNS | {"kind": {"type": "string", "values": ["box", "bag", "sack"]}}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_parcels(tmp_path, tolerance=0.2)


def give_sacks(ws: Workspace, *rows: int) -> None:
    give(ws, with_values(good_rows(20), "kind", dict.fromkeys(rows, "sack")))


def test_only_the_newest_accepted_revision_is_listed(ws: Workspace) -> None:
    give_sacks(ws, 1, 2)
    deliver(ws)
    give_sacks(ws, 1)
    deliver(ws)
    deliver(ws, good_rows(5, prefix="q"), FEBRUARY)
    (listed,) = list_quarantine(ws)
    assert (listed.source, listed.period, listed.revision) == ("parcels", "2024-01", 2)
    assert (listed.rows, listed.quarantined) == (20, 1)
    assert listed.reasons == {"`kind` is none of its values": 1}


def test_a_delivery_that_was_corrected_is_listed_no_more(ws: Workspace) -> None:
    give_sacks(ws, 1)
    deliver(ws)
    deliver(ws, good_rows(20))
    assert list_quarantine(ws) == []
    assert explain(ws, "parcels", JANUARY) == []


def test_rows_are_explained_by_reasons_and_offending_values(ws: Workspace) -> None:
    rows = with_values(good_rows(20), "kind", {3: "sack", 4: "sack"})
    deliver(ws, with_values(with_values(rows, "weight", {3: -1.0}), "id", {7: "p0006"}))
    first, _, third = explain(ws, "parcels", "2024-01")
    assert (first.number, first.key) == (4, {"id": "p0003"})
    assert first.reasons == ("`weight` below 0", "`kind` is none of its values")
    assert first.offending == {"weight": "-1.0", "kind": "sack"}
    assert first.row["pieces"] == "3"
    assert (third.reasons, third.offending) == (("duplicate key",), {"id": "p0006"})
    assert len(explain(ws, "parcels", "2024-01", limit=2)) == 2


def test_replaying_under_a_wider_contract_takes_the_rows_in(ws: Workspace) -> None:
    give_sacks(ws, 1, 2)
    before = deliver(ws)
    wider = declare(ws, columns=WIDER)
    after = replay(wider, "parcels", JANUARY, FEBRUARY.end)
    assert (before.accepted, after.accepted, after.quarantined) == (18, 20, 0)
    assert (after.revision, after.digest) == (before.revision, before.digest)
    assert stored(wider, "raw_parcels", after.partition).num_rows == 20
    assert list_quarantine(wider) == []


def test_replaying_does_not_ask_the_source_again(ws: Workspace) -> None:
    give_sacks(ws, 1)
    deliver(ws)
    give(ws, good_rows(3))
    assert replay(declare(ws, columns=WIDER), "parcels", "2024-01", FEBRUARY.end).rows == 20


def test_a_refused_delivery_is_replayed_too(ws: Workspace) -> None:
    give_sacks(ws, *range(10))
    with pytest.raises(DeliveryRefused):
        deliver(ws)
    with pytest.raises(UnknownDelivery, match=r"was refused whole.*`kind` is none of its values in 10 rows"):
        explain(ws, "parcels", "2024-01")
    with pytest.raises(NothingToReplay):
        replay(ws, "parcels", "2024-01", FEBRUARY.end)
    assert replay(declare(ws, columns=WIDER), "parcels", "2024-01", FEBRUARY.end).accepted == 20


def test_replaying_under_the_same_contract_is_an_error_that_says_so(ws: Workspace) -> None:
    give_sacks(ws, 1)
    deliver(ws)
    with pytest.raises(NothingToReplay, match=r"by the present contract .* already\. Change `sources\.parcels`"):
        replay(ws, "parcels", "2024-01", FEBRUARY.end)


def test_a_contract_that_is_changed_back_takes_the_rows_out_again(ws: Workspace) -> None:
    give_sacks(ws, 1)
    first = deliver(ws)
    wider = replay(declare(ws, columns=WIDER), "parcels", "2024-01", FEBRUARY.end)
    again = replay(ws, "parcels", "2024-01", FEBRUARY.end)
    assert [one.accepted for one in (first, wider, again)] == [19, 20, 19]
    assert len({one.partition for one in (first, wider, again)}) == 3
    assert deliver(ws) == again == ws.state().delivery("parcels", "2024-01")
    with pytest.raises(NothingToReplay):
        replay(ws, "parcels", "2024-01", FEBRUARY.end)


@pytest.mark.parametrize("ask", [explain, lambda *place: replay(*place, FEBRUARY.end)])
def test_an_unknown_delivery_gets_a_suggestion(ws: Workspace, ask) -> None:  # type: ignore[no-untyped-def]
    deliver(ws, good_rows(5))
    with pytest.raises(UnknownDelivery, match="`parcels` has no delivery `2024-11`; did you mean `2024-01`"):
        ask(ws, "parcels", "2024-11")
    with pytest.raises(UnknownSource, match="did you mean `parcels`"):
        ask(ws, "parcel", "2024-01")


def test_a_delivery_that_was_only_received_is_named_as_such(ws: Workspace) -> None:
    give_sacks(ws, 1)
    receive(ws, "parcels", JANUARY, JANUARY.end)
    with pytest.raises(UnknownDelivery, match="received but not validated"):
        explain(ws, "parcels", "2024-01")
