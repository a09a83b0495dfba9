import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.data import acceptance, lake, parquet_file
from perennial.data.acceptance import DeliveryRefused, OvertakenDelivery, SupersededDelivery, accept
from perennial.data.landing import receive
from perennial.data.views import known_deliveries
from perennial.records import Accepted, Refused, TrainingRefused
from perennial.workspace import Workspace
from tests.perennial.data.parcels import (
    COLUMNS,
    FEBRUARY,
    JANUARY,
    SCHEMA,
    declare,
    deliver,
    give,
    good_rows,
    open_parcels,
    stored,
    with_values,
)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_parcels(tmp_path, tolerance=0.2)


def kinds(ws: Workspace) -> list[str]:
    return [entry.record.kind for entry in ws.journal.entries()]


def refuse(ws: Workspace, rows: pa.Table | None = None) -> Refused:
    with pytest.raises(DeliveryRefused) as error:
        deliver(ws, rows)
    assert str(error.value) == error.value.refused.summary
    assert lake.version(ws, "raw_parcels") is None
    assert lake.version(ws, "quarantine") is None
    return error.value.refused


def test_good_rows_are_stored_as_declared_sorted_by_key(ws: Workspace) -> None:
    rows = good_rows(40)
    accepted = deliver(ws, rows.take(list(range(39, -1, -1))))
    assert (accepted.rows, accepted.accepted, accepted.quarantined, accepted.reasons) == (40, 40, 0, {})
    contract = ws.use_case.sources["parcels"].contract_digest
    assert accepted.partition == f"2024-01.r1.{accepted.digest[:8]}.{contract[:8]}"
    held = stored(ws, "raw_parcels", accepted.partition)
    assert held.schema.names == [*SCHEMA.names, "event_time", "known_at", "delivery"]
    assert held.select(SCHEMA.names).cast(SCHEMA) == rows
    assert held["event_time"] == held["sent_at"] == held["known_at"]
    assert held.schema.field("event_time").type == pa.timestamp("us", "UTC")
    assert accepted.table_version == lake.version(ws, "raw_parcels")
    assert lake.version(ws, "quarantine") is None


def test_accepting_again_changes_nothing(ws: Workspace) -> None:
    first = deliver(ws, good_rows(40))
    before = kinds(ws), lake.version(ws, "raw_parcels")
    assert deliver(ws) == first
    assert (kinds(ws), lake.version(ws, "raw_parcels")) == before


def test_bad_rows_go_to_quarantine_with_their_reasons(ws: Workspace) -> None:
    rows = with_values(good_rows(40), "weight", {7: -1.0, 9: math.inf})
    accepted = deliver(ws, with_values(rows, "kind", {9: "sack"}))
    assert (accepted.accepted, accepted.quarantined) == (38, 2)
    assert accepted.reasons == {
        "`kind` is none of its values": 1,
        "`weight` above 100": 1,
        "`weight` below 0": 1,
        "`weight` is not finite": 1,
    }
    bad = stored(ws, "quarantine", f"parcels/{accepted.partition}").to_pylist()
    assert [one["row_number"] for one in bad] == [8, 10]
    assert bad[0]["reasons"] == ["`weight` below 0"]
    assert bad[0]["key"] == '{"id": "p0007"}'
    assert bad[1]["reasons"] == ["`weight` is not finite", "`weight` above 100", "`kind` is none of its values"]
    assert '"weight": "inf"' in bad[1]["row"]


def test_of_rows_with_one_key_the_first_good_one_stays(ws: Workspace) -> None:
    rows = with_values(good_rows(40), "id", {0: "p0030", 31: "p0030", 32: "p0020"})
    accepted = deliver(ws, with_values(rows, "weight", {0: -1.0}))
    assert accepted.reasons == {"duplicate key": 2, "`weight` below 0": 1}
    bad = stored(ws, "quarantine", f"parcels/{accepted.partition}")
    assert bad["row_number"].to_pylist() == [1, 32, 33]
    assert accepted.accepted == 37


def test_the_same_row_twice_is_kept_once(ws: Workspace) -> None:
    accepted = deliver(ws, pa.concat_tables([good_rows(20), good_rows(2)]))
    assert (accepted.accepted, accepted.reasons) == (20, {"duplicate key": 2})


def test_a_key_of_another_delivery_is_taken(ws: Workspace) -> None:
    deliver(ws, good_rows(40))
    late = pa.concat_tables([good_rows(3), good_rows(37, prefix="new")])
    accepted = deliver(ws, late, FEBRUARY)
    assert (accepted.accepted, accepted.reasons) == (37, {"key already in delivery `2024-01`": 3})


def test_late_rows_land_by_their_event_time(ws: Workspace) -> None:
    accepted = deliver(ws, good_rows(5), FEBRUARY)
    assert accepted.accepted == 5
    assert stored(ws, "raw_parcels", accepted.partition)["event_time"][0].as_py() == datetime(2024, 1, 1, tzinfo=UTC)


def test_a_corrected_delivery_is_a_revision_whose_keys_are_its_own(ws: Workspace) -> None:
    first = deliver(ws, good_rows(40))
    second = deliver(ws, with_values(good_rows(40), "weight", {0: 99.0}))
    assert (second.revision, second.accepted) == (2, 40)
    assert ws.state().delivery("parcels", "2024-01") == second
    assert stored(ws, "raw_parcels", first.partition).num_rows == 40


def test_an_old_revision_is_not_accepted_after_a_newer_one(ws: Workspace) -> None:
    give(ws, good_rows(30))
    old = receive(ws, "parcels", JANUARY, JANUARY.end)
    deliver(ws, good_rows(40))
    with pytest.raises(SupersededDelivery, match="Revision 2 of delivery `2024-01`"):
        accept(ws, old, JANUARY.end)


def test_beyond_tolerance_nothing_is_written(ws: Workspace) -> None:
    give(ws, with_values(good_rows(40), "kind", dict.fromkeys(range(9), "sack")))
    refused = refuse(ws)
    assert refused.reasons == {"`kind` is none of its values": 9}
    assert refused.summary == (
        "`shop-returns`: delivery `2024-01` of `parcels` breaks its contract in 1 of 6 columns: "
        "`kind` is none of its values in 9 rows (such as `sack`). Bad are 9 of 40 rows (22.50%), at most 20.00% may "
        "be. Nothing was written. Fix the source and ingest it again, or widen `sources.parcels` in "
        "use_cases/shop-returns/use_case.yaml and validate it again."
    )


def test_up_to_tolerance_the_rest_is_accepted(ws: Workspace) -> None:
    accepted = deliver(ws, with_values(good_rows(40), "kind", dict.fromkeys(range(8), "sack")))
    assert (accepted.accepted, accepted.quarantined) == (32, 8)


def test_refusing_is_recorded_once_per_contract(ws: Workspace) -> None:
    give(ws, with_values(good_rows(4), "kind", {0: "sack"}))
    refuse(ws)
    refuse(ws)
    assert kinds(ws).count("delivery.refused") == 1
    refuse(declare(ws, tolerance=0.1))
    assert kinds(ws).count("delivery.refused") == 2


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (good_rows(9).rename_columns(["id", "sent_at", "mass", "pieces", "kind", "fragile"]), "(renamed to `mass`?)"),
        (good_rows(9).drop_columns(["kind"]), "column `kind` is missing"),
        (good_rows(9).append_column("kind", pa.array(["box"] * 9)), "column `kind` comes 2 times"),
        (good_rows(9).append_column("colour", pa.array(["red"] * 9)), "column `colour` is not declared"),
        (good_rows(9).set_column(2, "weight", pa.array(["1"] * 9)), "column `weight` holds `string`"),
        (good_rows(0), "0 rows, expected 1 or more"),
        (good_rows(9).set_column(2, "weight", pa.nulls(9)), "`weight` is null in 9 rows"),
    ],
    ids=["renamed", "dropped", "doubled", "added", "retyped", "no rows", "all null"],
)
def test_a_delivery_of_another_shape_is_refused_whole(ws: Workspace, rows: pa.Table, says: str) -> None:
    assert says in refuse(ws, rows).summary


def test_columns_in_another_order_are_the_same_delivery(ws: Workspace) -> None:
    assert deliver(ws, good_rows(9).select(SCHEMA.names[::-1])).accepted == 9


def test_an_empty_column_that_may_be_null_keeps_its_declared_type(ws: Workspace) -> None:
    accepted = deliver(ws, good_rows(9).set_column(3, "pieces", pa.nulls(9)))
    assert stored(ws, "raw_parcels", accepted.partition).schema.field("pieces").type == pa.int64()


@pytest.mark.parametrize(
    ("volume", "says"), [({"min_rows": 50}, "expected 50 or more"), ({"max_rows": 30}, "30 or fewer")]
)
def test_volume_is_judged(ws: Workspace, volume: dict[str, int], says: str) -> None:
    assert says in refuse(declare(ws, volume=volume), good_rows(40)).summary


def test_no_rows_are_accepted_where_none_are_needed(ws: Workspace) -> None:
    quiet = declare(ws, volume={"min_rows": 0})
    accepted = deliver(quiet, good_rows(0))
    assert (accepted.rows, accepted.accepted) == (0, 0)
    assert deliver(quiet, good_rows(5), FEBRUARY).accepted == 5


def test_freshness_is_the_age_of_the_newest_good_row(ws: Workspace) -> None:
    rows = with_values(good_rows(40, day=20), "sent_at", {0: datetime(2024, 1, 31, tzinfo=UTC)})
    assert deliver(declare(ws, freshness="2d"), rows).accepted == 40
    stale = open_parcels(Path(ws.store.root) / "other", tolerance=0.2, freshness="2d")
    refused = refuse(stale, with_values(rows, "weight", {0: -1.0}))
    assert "newest row 2024-01-20 23:00, expected 2024-01-30 00:00 or later (`freshness` 2d)" in refused.summary


def test_rows_of_a_reference_source_are_always_known(ws: Workspace) -> None:
    accepted = accept(ws, receive(ws, "shops", None, JANUARY.end), JANUARY.end)
    assert (accepted.period, accepted.accepted) == ("whole", 4)
    assert stored(ws, "raw_shops", accepted.partition)["known_at"].to_pylist() == [datetime(1970, 1, 1, tzinfo=UTC)] * 4


def test_a_crash_between_table_and_journal_is_mended_by_running_again(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = with_values(good_rows(40), "weight", {7: -1.0})
    give(ws, rows)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(acceptance, "_record", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        deliver(ws)
    assert "delivery.accepted" not in kinds(ws)
    accepted = deliver(ws)
    assert stored(ws, "raw_parcels", accepted.partition).num_rows == 39
    assert stored(ws, "quarantine", f"parcels/{accepted.partition}").num_rows == 1


def test_rows_of_a_crash_do_not_pass_for_those_that_another_delivery_leaves(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(ws, pa.concat_tables([good_rows(2), good_rows(18, prefix="q")]))
    february = receive(ws, "parcels", FEBRUARY, FEBRUARY.end)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(acceptance, "_record", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        accept(ws, february, FEBRUARY.end)
    deliver(ws, good_rows(2))
    accepted = accept(ws, february, FEBRUARY.end)
    assert accepted.accepted == stored(ws, "raw_parcels", accepted.partition).num_rows == 18


def test_two_deliveries_judged_at_once_do_not_both_keep_a_key(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    give(ws, good_rows(10))
    january, february = (receive(ws, "parcels", period, period.end) for period in (JANUARY, FEBRUARY))
    write, rival = acceptance._write, open_rival(ws)

    def overtaken(*arguments: Any) -> Accepted:
        monkeypatch.setattr(acceptance, "_write", write)
        accept(rival, january, JANUARY.end)
        return write(*arguments)

    monkeypatch.setattr(acceptance, "_write", overtaken)
    with pytest.raises(OvertakenDelivery, match="delivery `2024-01` with some of its keys was accepted"):
        accept(ws, february, FEBRUARY.end)
    with pytest.raises(DeliveryRefused, match="key already in delivery `2024-01` in 10 rows"):
        accept(ws, february, FEBRUARY.end)


def test_a_correction_is_not_seen_by_what_was_computed_while_it_was_judged(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, rival, write = deliver(ws, good_rows(10)), open_rival(ws), acceptance._write
    give(ws, good_rows(9))
    correction = receive(ws, "parcels", JANUARY, FEBRUARY.end)
    meanwhile = FEBRUARY.end + timedelta(minutes=2)

    def computed(*arguments: Any) -> Accepted:
        rival.journal.decide(lambda _: TrainingRefused(key="k", reason="It saw the first revision."), meanwhile)
        return write(*arguments)

    monkeypatch.setattr(acceptance, "_write", computed)
    second = accept(ws, correction, FEBRUARY.end)
    assert known_deliveries(ws.state(), meanwhile) == [first]
    assert known_deliveries(ws.state(), meanwhile + timedelta(seconds=1)) == [second]


def test_two_processes_that_accept_the_same_delivery_agree(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    give(ws, good_rows(10))
    january = receive(ws, "parcels", JANUARY, JANUARY.end)
    write, rival = acceptance._write, open_rival(ws)
    accepted: list[Accepted] = []

    def overtaken(*arguments: Any) -> Accepted:
        monkeypatch.setattr(acceptance, "_write", write)
        accepted.append(accept(rival, january, JANUARY.end))
        return write(*arguments)

    monkeypatch.setattr(acceptance, "_write", overtaken)
    assert accept(ws, january, JANUARY.end) == accepted[0]
    assert kinds(ws).count("delivery.accepted") == 1
    assert stored(ws, "raw_parcels", accepted[0].partition).num_rows == 10


def test_a_delivery_accepted_meanwhile_with_other_keys_does_not_matter(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(ws, good_rows(10))
    january = receive(ws, "parcels", JANUARY, JANUARY.end)
    give(ws, good_rows(10, prefix="q"))
    february = receive(ws, "parcels", FEBRUARY, FEBRUARY.end)
    write, rival = acceptance._write, open_rival(ws)

    def overtaken(*arguments: Any) -> Accepted:
        monkeypatch.setattr(acceptance, "_write", write)
        accept(rival, january, JANUARY.end)
        return write(*arguments)

    monkeypatch.setattr(acceptance, "_write", overtaken)
    assert accept(ws, february, FEBRUARY.end).accepted == 10


def open_rival(ws: Workspace) -> Workspace:
    return Workspace(ws.use_case, ws.settings)


def test_deliveries_larger_than_a_chunk_are_judged_as_one(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, "CHUNK_ROWS", 8)
    rows = with_values(with_values(good_rows(40), "weight", {7: -1.0, 8: -1.0, 39: -1.0}), "id", {30: "p0001"})
    accepted = deliver(ws, rows)
    assert accepted.reasons == {"`weight` below 0": 3, "duplicate key": 1}
    bad = stored(ws, "quarantine", f"parcels/{accepted.partition}")
    assert sorted(bad["row_number"].to_pylist()) == [8, 9, 31, 40]
    assert '"id": "p0039"' in bad["row"].to_pylist()[-1]


NUMERALS = ["0", "1", "-1", "1.0", "1e400", "nan", "-inf", "9" * 30]
TIMES = ["2024-01-05", "2024-01-05T10:00:00+01:00", "2024-02-01", "2024-02-30"]
WORDS = ["", "x", "true", "box", "bag", "bag ", "ü\u0000'\"{}", "p0", "p1", "p2"]
HOSTILE_TEXT = st.sampled_from([*NUMERALS, *TIMES, *WORDS])
ROW = st.fixed_dictionaries({name: st.none() | HOSTILE_TEXT for name in COLUMNS})
NUMBERS = st.none() | st.floats() | st.sampled_from([0.0, -0.0, 5.0, 100.0])
TYPED_ROW = st.fixed_dictionaries(
    {
        "id": st.none() | st.sampled_from(["a", "b", "c", "d", "ü", ""]),
        "sent_at": st.none()
        | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda time: time.replace(tzinfo=UTC))  # noqa: DTZ001
        | st.sampled_from([JANUARY.start, JANUARY.end, JANUARY.end - timedelta(microseconds=1)]),
        "weight": NUMBERS,
        "pieces": NUMBERS,
        "kind": st.none() | st.sampled_from(["box", "bag", "sack"]),
        "fragile": st.none() | st.booleans(),
    }
)
TYPED = SCHEMA.set(3, pa.field("pieces", pa.float64()))


def is_good(row: dict[str, Any]) -> bool:
    """Judge a typed row by the contract of the parcels, in the plainest way."""
    pieces = row["pieces"]
    return (
        row["id"] is not None
        and row["sent_at"] is not None
        and row["sent_at"] < JANUARY.end
        and row["weight"] is not None
        and 0 <= row["weight"] <= 100
        and (pieces is None or (math.isfinite(pieces) and pieces == int(pieces) and abs(pieces) < 2**53))
        and row["kind"] in ("box", "bag")
    )


def keys_kept(rows: list[dict[str, Any]]) -> list[str]:
    return sorted({row["id"] for row in rows if is_good(row)}, key=str.encode)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(TYPED_ROW, max_size=12), chunk=st.sampled_from([3, 250_000]))
def test_exactly_the_good_rows_are_accepted_and_no_row_is_lost(rows: list[dict[str, Any]], chunk: int) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_file, "CHUNK_ROWS", chunk)
        ws = open_parcels(Path(folder), tolerance=1.0, volume={"min_rows": 0})
        accepted = deliver(ws, pa.Table.from_pylist(rows, TYPED))
        assert accepted.rows == len(rows) == accepted.accepted + accepted.quarantined
        kept = keys_kept(rows)
        assert accepted.accepted == len(kept)
        if kept:
            assert stored(ws, "raw_parcels", accepted.partition)["id"].to_pylist() == kept
        if accepted.quarantined:
            bad = stored(ws, "quarantine", f"parcels/{accepted.partition}")
            assert bad.num_rows == accepted.quarantined
            assert all(bad["reasons"].to_pylist())


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(ROW, max_size=8), tolerance=st.sampled_from([0.0, 0.5, 1.0]))
def test_hostile_text_is_accepted_quarantined_or_refused_whole(
    rows: list[dict[str, str | None]], tolerance: float
) -> None:
    with TemporaryDirectory() as folder:
        sql = {"sql": f"sqlite:///{folder}/parcels.db", "query": "SELECT * FROM parcels WHERE :start < :end"}
        ws = open_parcels(Path(folder) / "house", read=sql, tolerance=tolerance)
        write_database(f"{folder}/parcels.db", rows)
        received = receive(ws, "parcels", JANUARY, JANUARY.end)
        assert received.rows == len(rows)
        try:
            accepted = accept(ws, received, JANUARY.end)
        except DeliveryRefused:
            assert lake.version(ws, "raw_parcels") is lake.version(ws, "quarantine") is None
            return
        assert accepted.accepted + accepted.quarantined == len(rows)
        assert accepted.quarantined <= tolerance * len(rows)
        counted = [
            stored(ws, table, partition).num_rows
            for table, partition, count in (
                ("raw_parcels", accepted.partition, accepted.accepted),
                ("quarantine", f"parcels/{accepted.partition}", accepted.quarantined),
            )
            if count
        ]
        assert sum(counted) == len(rows)


def write_database(path: str, rows: list[dict[str, str | None]]) -> None:
    import sqlite3

    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TABLE parcels ({', '.join(COLUMNS)})")
    connection.executemany(
        f"INSERT INTO parcels VALUES ({', '.join('?' * len(COLUMNS))})", [list(one.values()) for one in rows]
    )
    connection.commit()
    connection.close()
