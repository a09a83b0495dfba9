import os
import random
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from perennial.data import lake
from perennial.data.engine import Engine, parquet
from perennial.release import paired_losses
from perennial.workspace import Workspace
from tests.builders import make_use_case

ROWS = pa.table({"a": [1, 2], "words": [["x"], []]})


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return make_use_case(tmp_path, months=())


def test_a_partition_is_written_once(ws: Workspace) -> None:
    first = lake.append(ws, "t", ROWS, "part", "one")
    assert lake.append(ws, "t", ROWS, "part", "one") == first
    assert len(lake.files(ws, "t", "part", ["one"])) == 1


def test_a_partition_without_rows_is_written_once_and_has_a_file_without_rows(ws: Workspace) -> None:
    version = lake.append(ws, "t", ROWS.slice(0, 0), "part", "none")
    assert lake.append(ws, "t", ROWS, "part", "none") == version
    [file] = lake.files(ws, "t", "part", ["none"])
    assert pq.ParquetFile(file).read() == ROWS.slice(0, 0)


def test_rows_keep_their_order_and_bytes_whatever_their_batches(ws: Workspace) -> None:
    draw = random.Random(0)
    words = [f"{draw.getrandbits(128):x}" * draw.randint(1, 3) for _ in range(20_000)]
    rows = pa.table({"a": range(20_000), "words": words, "gaps": [draw.choice([None, 1, 2]) for _ in words]})
    for table, size in (("t", 777), ("u", 20_000)):
        reader = pa.RecordBatchReader.from_batches(rows.schema, iter(rows.to_batches(max_chunksize=size)))
        lake.append(ws, table, reader, "part", "one")
    (first,), (second,) = (lake.files(ws, table, "part", ["one"]) for table in "tu")
    assert Path(first).read_bytes() == Path(second).read_bytes()
    assert pq.ParquetFile(first).read() == rows


def test_a_table_is_readable_as_delta(ws: Workspace) -> None:
    lake.append(ws, "t", ROWS, "part", "flights/2013-01.r1")
    lake.append(ws, "t", ROWS.append_column("b", pa.array(["x", "y"])), "part", "two")
    read = DeltaTable(ws.table("t")).to_pyarrow_table(filters=[("part", "=", "flights/2013-01.r1")])
    assert read.select(["a", "part"]).to_pylist() == [{"a": one, "part": "flights/2013-01.r1"} for one in (1, 2)]
    everything = DeltaTable(ws.table("t")).to_pyarrow_table(columns=["b"])["b"].to_pylist()
    assert sorted(everything, key=str) == [None, None, "x", "y"]


def test_names_with_slashes_are_found_again(ws: Workspace) -> None:
    lake.append(ws, "t", ROWS, "part", "flights/2013-01.r1")
    lake.append(ws, "t", ROWS, "part", "flights/2013-02.r1")
    assert len(lake.files(ws, "t", "part", ["flights/2013-02.r1"])) == 1
    with Engine(ws.settings) as engine:
        rows = engine.table(f"SELECT * FROM {parquet(lake.files(ws, 't', 'part', ['flights/2013-02.r1']))}")
    assert rows["part"].to_pylist() == ["flights/2013-02.r1"] * 2


def test_new_and_absent_columns_are_allowed(ws: Workspace) -> None:
    lake.append(ws, "t", ROWS, "part", "one")
    lake.append(ws, "t", ROWS.append_column("b", pa.array(["x", "y"])), "part", "two")
    assert lake.append(ws, "t", ROWS.select(["a"]), "part", "three") == lake.version(ws, "t")


def test_a_column_keeps_its_type(ws: Workspace) -> None:
    lake.append(ws, "t", ROWS, "part", "one")
    with pytest.raises(lake.RetypedColumn, match="`a` as long, and the new rows as string"):
        lake.append(ws, "t", pa.table({"a": ["1"]}), "part", "two")
    assert lake.version(ws, "t") == 1


def test_what_was_appended_survives_a_loss_of_power(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, really = set[str](), os.fsync

    def fsync(opened: int) -> None:
        synced.add(Path(f"/proc/self/fd/{opened}").readlink().name)
        really(opened)

    monkeypatch.setattr(os, "fsync", fsync)
    for month in ("2024-01", "2024-02"):
        lake.append(ws, "t", ROWS, "part", month)
    written = {one.name for one in Path(ws.table("t")).rglob("*.json")}
    assert len(written) == 3
    assert written < synced
    synced.clear()
    lake.append(ws, "t", ROWS, "part", "2024-01")
    assert written < synced, "whoever wrote it may have died before it was durable"
    synced.clear()
    lake.append(ws, "t", ROWS, "part", "2024-03")
    assert not written & synced, "what is older than the last commits is not looked at again"


def test_of_many_writers_of_one_partition_one_wins(ws: Workspace) -> None:
    start, lost = threading.Barrier(4), []

    def write() -> None:
        start.wait()
        try:
            lake.append(ws, "t", ROWS, "part", "one")
        except lake.LakeBusy as error:
            lost.append(error)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    assert len(lost) < 4
    lake.append(ws, "t", ROWS, "part", "one")
    assert len(lake.files(ws, "t", "part", ["one"])) == 1


def test_what_goes_wrong_in_the_rows_keeps_its_name(ws: Workspace) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield ROWS.to_batches()[0]
        raise ZeroDivisionError("of the reader")

    with pytest.raises(ZeroDivisionError, match="of the reader"):
        lake.append(ws, "t", pa.RecordBatchReader.from_batches(ROWS.schema, broken()), "part", "one")
    assert lake.append(ws, "t", ROWS, "part", "one") == 1


def test_nothing_deprecated_is_called(ws: Workspace) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lake.append(ws, "t", ROWS, "part", "one")
        lake.files(ws, "t", "part", ["one"])
        lake.version(ws, "t")


def test_a_file_with_a_flipped_bit_is_not_read(ws: Workspace) -> None:
    lake.append(ws, "t", ROWS, "part", "one")
    [file] = map(Path, lake.files(ws, "t", "part", ["one"]))
    data = bytearray(file.read_bytes())
    data[20] ^= 1
    file.write_bytes(data)
    with pytest.raises(lake.DamagedPartition, match="Nothing was read"):
        lake.files(ws, "t", "part", ["one"])
    file.unlink()
    with pytest.raises(lake.MissingPartition, match="is gone"):
        lake.files(ws, "t", "part", ["one"])


def test_many_partitions_are_looked_up_in_one_listing(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"online.{number}" for number in range(12)]
    for name in names:
        lake.append(ws, "t", ROWS, "part", name)
    listings: list[object] = []
    listed = DeltaTable.file_uris
    monkeypatch.setattr(DeltaTable, "file_uris", lambda *given: listings.append(given) or listed(*given))
    found = lake.files(ws, "t", "part", names[::-1])
    assert [Path(one).parent.name for one in found] == [f"part={name}" for name in names[::-1]]
    assert len(listings) == 1


def test_as_many_digests_are_remembered_as_one_comparison_reads() -> None:
    assert lake._digest.cache_parameters()["maxsize"] >= 2 * paired_losses.MOST_BATCHES
