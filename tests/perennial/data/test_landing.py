from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.data import landing, parquet_file
from perennial.data.acceptance import accept
from perennial.data.landing import DamagedDelivery, fetch, open_landed, receive
from perennial.records import Received
from perennial.store import MissingObject
from perennial.workspace import Workspace
from tests.perennial.data.parcels import FEBRUARY, JANUARY, give, good_rows, open_parcels, with_values


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_parcels(tmp_path)


def land(ws: Workspace, rows: pa.Table) -> Received:
    give(ws, rows)
    return receive(ws, "parcels", JANUARY, JANUARY.end)


def landed(ws: Workspace, received: Received) -> pa.Table:
    with TemporaryDirectory() as folder:
        return open_landed(fetch(ws, received, Path(folder))).read()


def test_rows_are_kept_as_they_came(ws: Workspace) -> None:
    rows = with_values(good_rows(20), "weight", {3: float("inf"), 5: None})
    received = land(ws, rows)
    assert landed(ws, received) == rows
    assert (received.rows, received.revision, received.period) == (20, 1, "2024-01")
    assert received.path == f"landing/shop-returns/parcels/2024-01/{received.digest}.parquet"


def test_the_same_content_again_changes_nothing(ws: Workspace) -> None:
    first = land(ws, good_rows(20))
    assert land(ws, good_rows(20)) == first
    assert len(ws.journal.entries()) == 1


def test_other_content_is_the_next_revision_and_so_is_a_return_to_the_old(ws: Workspace) -> None:
    first, second, third = (land(ws, good_rows(count)) for count in (20, 19, 20))
    assert [one.revision for one in (first, second, third)] == [1, 2, 3]
    assert third.path == first.path


def test_a_correction_comes_after_all_that_was_written_before_it(ws: Workspace) -> None:
    land(ws, good_rows(20))
    receive(ws, "parcels", FEBRUARY, FEBRUARY.end)
    land(ws, good_rows(19))
    assert [one.at > FEBRUARY.end for one in ws.journal.entries()] == [False, False, True]


def test_periods_are_apart(ws: Workspace) -> None:
    land(ws, good_rows(20))
    assert receive(ws, "parcels", FEBRUARY, FEBRUARY.end).revision == 1


def test_a_reference_source_is_delivered_whole(ws: Workspace) -> None:
    first = receive(ws, "shops", JANUARY, JANUARY.end)
    assert first.period == "whole"
    assert receive(ws, "shops", FEBRUARY, FEBRUARY.end) == receive(ws, "shops", None, FEBRUARY.end) == first


def test_no_rows_are_a_delivery_too(ws: Workspace) -> None:
    received = land(ws, good_rows(0))
    assert received.rows == 0
    assert landed(ws, received).schema.names == good_rows(0).schema.names


def test_bytes_do_not_depend_on_batches_or_on_the_library_that_gave_them(ws: Workspace) -> None:
    whole = good_rows(30)
    pieces = pa.concat_tables([whole.slice(0, 7), whole.slice(7, 1), whole.slice(8)])
    large = whole.cast(
        pa.schema([(one.name, pa.large_string() if one.type == "string" else one.type) for one in whole.schema])
    )
    coded = whole.set_column(4, "kind", whole["kind"].dictionary_encode())
    noted = whole.replace_schema_metadata({"pandas": "index"})
    assert {land(ws, rows).digest for rows in (whole, pieces, large, coded, noted)} == {land(ws, whole).digest}


def test_bytes_do_not_depend_on_batches_beyond_one_chunk(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, "CHUNK_ROWS", 8)
    whole = good_rows(30)
    first = land(ws, whole)
    assert land(ws, pa.concat_tables([whole.slice(0, 20), whole.slice(20, 9), whole.slice(29)])) == first
    assert landed(ws, first) == whole


def test_at_most_one_chunk_is_held(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, "CHUNK_ROWS", 10)
    batch = good_rows(10).to_batches()[0]
    monkeypatch.setattr(
        landing, "read_delivery", lambda *_: pa.RecordBatchReader.from_batches(batch.schema, (batch for _ in range(5)))
    )
    received = receive(ws, "parcels", JANUARY, JANUARY.end)
    with TemporaryDirectory() as folder:
        assert open_landed(fetch(ws, received, Path(folder))).num_row_groups == 5


def test_a_source_that_breaks_half_way_leaves_nothing(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def half() -> Iterator[pa.RecordBatch]:
        yield good_rows(10).to_batches()[0]
        raise ConnectionError("half way")

    monkeypatch.setattr(
        landing, "read_delivery", lambda *_: pa.RecordBatchReader.from_batches(good_rows(0).schema, half())
    )
    with pytest.raises(ConnectionError):
        receive(ws, "parcels", JANUARY, JANUARY.end)
    assert ws.store.list("landing") == []
    assert ws.journal.entries() == ()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_landed_file_is_ever_read(ws: Workspace, place: float, bit: int) -> None:
    received = land(ws, good_rows(50))
    data = bytearray(ws.store.get(received.path))
    data[int(place * len(data))] ^= 1 << bit
    ws.store.put(received.path, bytes(data))
    with pytest.raises(DamagedDelivery, match="its bytes changed after they were received"):
        accept(ws, received, JANUARY.end)
    assert ws.state().accepted == []


def test_receiving_again_heals_a_damaged_file(ws: Workspace) -> None:
    received = land(ws, good_rows(50))
    ws.store.put(received.path, b"damage")
    assert land(ws, good_rows(50)) == received
    assert accept(ws, received, JANUARY.end).accepted == 50


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_landed_file_is_refused_by_its_digest(ws: Workspace, kept: int) -> None:
    received = land(ws, good_rows(50))
    ws.store.put(received.path, ws.store.get(received.path)[:kept])
    with pytest.raises(DamagedDelivery):
        accept(ws, received, JANUARY.end)


def test_a_landed_file_that_is_gone_is_named(ws: Workspace) -> None:
    received = land(ws, good_rows(5))
    Path(ws.store.uri(received.path)).unlink()
    with pytest.raises(MissingObject, match=received.digest):
        accept(ws, received, JANUARY.end)
