import gzip
import random
import sqlite3
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perennial.data import sources
from perennial.data.adapter import BadAdapter
from perennial.data.landing import receive
from perennial.data.source_files import UnreadableFile
from perennial.data.sources import SourceAway, UnknownSource, UnreadableSource, read_delivery
from perennial.errors import Permanent
from perennial.periods import Period
from perennial.workspace import Workspace
from tests.perennial.data.parcels import FEBRUARY, JANUARY, declare, give, good_rows, open_parcels

CSV = b"id,sent_at,weight\na,2024-01-05 10:00:00,1.5\nb,2024-02-05T10:00:00Z,NA\nc,soon,heavy\nd,2024-01-06,\n"


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_parcels(tmp_path)


def read(ws: Workspace, period: Period | None = JANUARY, **changes: Any) -> pa.Table:
    return read_delivery(declare(ws, **changes), "parcels", period).read_all()


def csv(ws: Workspace, data: bytes, name: str = "parcels.csv") -> dict[str, Any]:
    (ws.use_case.folder / name).write_bytes(data)
    return {"csv": f"shop-returns/{name}"}


def test_csv_comes_as_text_so_that_a_bad_value_costs_no_row(ws: Workspace) -> None:
    rows = read(ws, read=csv(ws, CSV, "parcels-2024-01.csv") | {"csv": "shop-returns/parcels-{period}.csv"})
    assert set(rows.schema.types) == {pa.string()}
    assert rows["weight"].to_pylist() == ["1.5", None, "heavy", None]


def test_csv_without_a_period_in_its_path_gives_the_rows_of_the_period_and_those_of_no_time(ws: Workspace) -> None:
    path = csv(ws, CSV)
    assert read(ws, read=path)["id"].to_pylist() == ["a", "c", "d"]
    assert read(ws, FEBRUARY, read=path)["id"].to_pylist() == ["b", "c"]


def test_bounds_of_a_period_are_inclusive_then_exclusive(ws: Workspace) -> None:
    path = csv(ws, b"id,sent_at\na,2024-01-01\nb,2024-02-01 00:00:00\nc,2024-02-01 00:30:00+01:00\n")
    assert read(ws, read=path)["id"].to_pylist() == ["a", "c"]
    assert read(ws, FEBRUARY, read=path)["id"].to_pylist() == ["b"]


@pytest.mark.parametrize(
    "data",
    [b"\xef\xbb\xbf" + CSV, CSV.replace(b"\n", b"\r\n"), CSV.rstrip(b"\n"), CSV + b"\n", gzip.compress(CSV)],
    ids=["byte order mark", "CRLF", "no newline at the end", "empty line at the end", "gzip"],
)
def test_csv_dialects_give_the_same_rows(ws: Workspace, data: bytes) -> None:
    name = "parcels.csv.gz" if data.startswith(b"\x1f") else "parcels.csv"
    assert read(ws, read=csv(ws, data, name)) == read(ws, read=csv(ws, CSV, "plain.csv"))


def test_csv_keeps_columns_that_have_the_same_name(ws: Workspace) -> None:
    rows = read(ws, read=csv(ws, b"id,sent_at,id\na,2024-01-05,b\n"))
    assert rows.schema.names == ["id", "sent_at", "id"]


def test_csv_quotes_delimiters_and_nulls_are_as_declared(ws: Workspace) -> None:
    given = csv(ws, b'id;"sent ""at""";weight\n"a;b\nc";-;"say ""hi"""\n')
    rows = read(ws, read=given | {"delimiter": ";", "null_values": ["-"]})
    assert rows.to_pylist() == [{"id": "a;b\nc", 'sent "at"': None, "weight": 'say "hi"'}]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (CSV + b"e,2024-01-07\n", "Expected Number of Columns: 3 Found: 2"),
        (CSV + b"e,2024-01-07,1,2\n", "Expected Number of Columns: 3 Found: 4"),
        (CSV + b'e,2024-01-07,"1.5', "unterminated quote"),
        (CSV + b"e,2024-01-07,\xff\xfe\n", "not utf-8"),
        (CSV.replace(b"\n", b"\r\n", 1) + b"e,2024-01-07\r\n", "CSV"),
    ],
    ids=["empty", "cut in a row", "too many fields", "cut in a quote", "other encoding", "mixed line ends"],
)
def test_csv_that_is_not_whole_is_an_error(ws: Workspace, data: bytes, says: str) -> None:
    with pytest.raises(Permanent, match=says):
        read(ws, read=csv(ws, data))


@pytest.mark.parametrize("cut", [1, 8, 9, 100, 2000])
def test_gzip_that_ends_early_is_an_error(ws: Workspace, cut: int) -> None:
    whole = gzip.compress(b"id,sent_at\n" + b"".join(b"%d,2024-01-%02d\n" % (n, n % 28 + 1) for n in range(20_000)))
    with pytest.raises(UnreadableSource, match="`parcels` cannot be read"):
        read(ws, read=csv(ws, whole[:-cut], "parcels.csv.gz"))


def test_files_of_a_glob_are_one_delivery(ws: Workspace) -> None:
    for name in "ba":
        csv(ws, f"id,sent_at\n{name},2024-01-05\n".encode(), f"part-{name}.csv")
    assert read(ws, read={"csv": "shop-returns/part-*.csv"})["id"].to_pylist() == ["a", "b"]


def test_files_with_other_columns_are_not_mixed(ws: Workspace) -> None:
    csv(ws, b"id,sent_at\na,2024-01-05\n", "part-a.csv")
    csv(ws, b"sent_at,id\n2024-01-05,b\n", "part-b.csv")
    with pytest.raises(UnreadableFile, match="same columns in the same order"):
        read(ws, read={"csv": "shop-returns/part-*.csv"})


@pytest.mark.parametrize("place", ["use_cases/extra.csv", "extra.csv"])
def test_relative_paths_start_at_the_use_cases_or_beside_them(ws: Workspace, place: str) -> None:
    (Path(ws.settings.use_cases).parent / place).write_bytes(CSV)
    assert read(ws, read={"csv": "extra.csv"}).num_rows == 3
    assert read(ws, read={"csv": str(Path(ws.settings.use_cases).parent / place)}).num_rows == 3


def test_object_stores_give_what_files_give(ws: Workspace) -> None:
    for month in ("2024-01", "2024-02"):
        (ws.use_case.folder / month / "deeper").mkdir(parents=True)
        csv(ws, gzip.compress(f"id,sent_at\n{month},2024-01-05\n".encode()), f"{month}/parcels.csv.gz")
        csv(ws, b"id,sent_at\nno,2024-01-05\n", f"{month}/deeper/parcels.csv.gz")
    url = ws.use_case.folder.as_uri()
    assert read(ws, read={"csv": f"{url}/{{period}}/parcels.csv.gz"})["id"].to_pylist() == ["2024-01"]
    assert read(ws, read={"csv": f"{url}/*/*.gz"})["id"].to_pylist() == ["2024-01", "2024-02"]
    for nowhere in ("none.csv", "none*.csv"):
        with pytest.raises(UnreadableFile, match="No file matches"):
            read(ws, read={"csv": f"{url}/{nowhere}"})


def test_copies_of_objects_are_gone_when_they_were_read(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    csv(ws, CSV)
    (room := ws.use_case.folder / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    declared = declare(ws, read={"csv": f"{ws.use_case.folder.as_uri()}/parcels.csv"})
    rows = read_delivery(declared, "parcels", JANUARY)
    assert len(list(room.iterdir())) == 1
    assert rows.read_all().num_rows == 3
    with pytest.raises(UnreadableFile):
        read(ws, read={"csv": "nowhere.csv"})
    assert list(room.iterdir()) == []


def test_a_missing_file_is_named(ws: Workspace) -> None:
    with pytest.raises(UnreadableFile, match=r"No file matches `.*/nowhere-2024-01\.csv`"):
        read(ws, read={"csv": "nowhere-{period}.csv"})


def parquet(ws: Workspace, rows: pa.Table, name: str = "parcels.parquet") -> dict[str, Any]:
    pq.write_table(rows, ws.use_case.folder / name)
    return {"parquet": f"shop-returns/{name}"}


def test_parquet_keeps_its_types_and_gives_the_rows_of_the_period(ws: Workspace) -> None:
    times = [datetime(2024, 1, 31, 23), datetime(2024, 2, 1), None, datetime(2024, 1, 1)]  # noqa: DTZ001
    path = parquet(ws, pa.table({"id": list("abcd"), "sent_at": times, "n": pa.array([1, 2, 3, 4], pa.int8())}))
    rows = read(ws, read=path)
    assert rows["id"].to_pylist() == ["a", "c", "d"]
    assert rows.schema.field("n").type == pa.int8()
    assert read(ws, FEBRUARY, read=path)["id"].to_pylist() == ["b", "c"]


def test_parquet_whose_path_names_the_period_may_bring_late_rows(ws: Workspace) -> None:
    parquet(ws, good_rows(3), "parcels-2024-02.parquet")
    assert read(ws, FEBRUARY, read={"parquet": "shop-returns/parcels-{period}.parquet"}).num_rows == 3


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:40], lambda _: b"", lambda _: b"PAR1PAR1"]
)
def test_parquet_that_is_not_whole_is_an_error(ws: Workspace, damage: Callable[[bytes], bytes]) -> None:
    path = parquet(ws, good_rows(500))
    file = ws.use_case.folder / "parcels.parquet"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UnreadableSource, match="`parcels` cannot be read"):
        read(ws, read=path)


def test_parquet_with_checksums_gives_no_changed_value_whichever_bit_is_flipped(ws: Workspace) -> None:
    rows, file = good_rows(500), ws.use_case.folder / "parcels.parquet"
    pq.write_table(rows, file, write_page_checksum=True)
    whole, draw, path = file.read_bytes(), random.Random(4), {"parquet": "shop-returns/parcels.parquet"}
    expected, damaged = read(ws, read=path), 0
    for _ in range(40):
        flipped = bytearray(whole)
        flipped[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        file.write_bytes(flipped)
        try:
            assert read(ws, read=path) == expected
        except UnreadableFile as error:
            assert "parcels.parquet` is damaged, so nothing of it was read" in str(error)
            damaged += 1
        except UnreadableSource:
            pass
    assert damaged > 20


def test_a_damaged_delivery_leaves_no_trace_and_the_whole_one_is_received(ws: Workspace) -> None:
    file = ws.use_case.folder / "parcels.parquet"
    pq.write_table(good_rows(500), file, write_page_checksum=True, compression="none")
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"p0007", b"p0008", 1))
    parcels = declare(ws, read={"parquet": "shop-returns/parcels.parquet"})
    with pytest.raises(UnreadableFile, match="is damaged"):
        receive(parcels, "parcels", JANUARY, JANUARY.end)
    assert ws.journal.entries() == () and not ws.store.list("landing")
    file.write_bytes(whole)
    assert receive(parcels, "parcels", JANUARY, JANUARY.end).rows == 500


def adapter(ws: Workspace, text: str) -> dict[str, Any]:
    (ws.use_case.folder / "source.py").write_text(text)
    return {"python": "shop-returns/source.py:rows"}


@pytest.mark.parametrize(
    "gives",
    [
        "pa.table({'id': ['a', 'b']})",
        "pa.table({'id': ['a', 'b']}).to_reader()",
        "pl.DataFrame({'id': ['a', 'b']})",
    ],
)
def test_adapters_may_give_arrow_or_polars(ws: Workspace, gives: str) -> None:
    read_by = adapter(ws, f"import polars as pl\nimport pyarrow as pa\n\ndef rows(window):\n    return {gives}\n")
    assert read(ws, read=read_by)["id"].to_pylist() == ["a", "b"]


def test_adapters_get_the_window_and_reference_sources_get_none(ws: Workspace) -> None:
    text = "import pyarrow as pa\n\ndef rows(window):\n    return pa.table({'w': [str(window and window.start)]})\n"
    read_by = adapter(ws, text)
    assert read(ws, read=read_by)["w"].to_pylist() == [str(datetime(2024, 1, 1, tzinfo=UTC))]
    assert read(ws, read=read_by, event_time=None)["w"].to_pylist() == ["None"]
    assert read(ws, None, read=read_by, event_time=None)["w"].to_pylist() == ["None"]


def test_adapters_may_use_dataclasses(ws: Workspace) -> None:
    text = "from __future__ import annotations\nimport dataclasses, pyarrow as pa\n\n@dataclasses.dataclass\n"
    text += "class Row:\n    id: str\n\ndef rows(window):\n    return pa.table({'id': [Row('a').id]})\n"
    assert read(ws, read=adapter(ws, text)).num_rows == 1


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        ("return [1]", BadAdapter, "returned a `builtins.list`; return a pyarrow Table"),
        ("raise KeyError('carrier')", UnreadableSource, "`parcels` cannot be read. KeyError: 'carrier'"),
        ("raise ConnectionResetError('gone')", SourceAway, "`parcels` did not answer"),
        ("import nothing_of_this_name", UnreadableSource, "ModuleNotFoundError"),
    ],
)
def test_a_failing_adapter_says_whether_trying_again_helps(ws: Workspace, body: str, error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        read(ws, read=adapter(ws, f"def rows(window):\n    {body}\n"))


def test_an_adapter_that_fails_while_it_is_read_keeps_its_error(ws: Workspace) -> None:
    text = "import pyarrow as pa\n\ndef rows(window):\n    t = pa.table({'id': ['a']})\n    def batches():\n"
    text += "        yield t.to_batches()[0]\n        raise ConnectionError('half way')\n"
    text += "    return pa.RecordBatchReader.from_batches(t.schema, batches())\n"
    with pytest.raises(SourceAway, match="half way"):
        read(ws, read=adapter(ws, text))


def test_an_adapter_lies_below_the_use_cases(ws: Workspace) -> None:
    outside = Path(ws.settings.use_cases).parent / "outside.py"
    outside.write_text("raise SystemExit('was run')")
    (ws.use_case.folder / "link.py").symlink_to(outside)
    for place in ("../outside.py", "shop-returns/link.py", "shop-returns/../../outside.py"):
        with pytest.raises(BadAdapter, match="is no file below"):
            read(ws, read={"python": "x.py:read"} | {"python": f"a/../{place}:rows"})


def test_a_mistyped_function_gets_a_suggestion(ws: Workspace) -> None:
    give(ws, good_rows(1))
    with pytest.raises(BadAdapter, match="did you mean `read`"):
        read(ws, read={"python": "shop-returns/parcels.py:raed"})


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "parcels.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE parcels (id, sent_at, weight)")
        times = ["2024-01-01 00:00:00", "2024-01-31 23:59:59.5", "2024-02-01 00:00:00", "2024-02-01T00:00:00"]
        connection.executemany("INSERT INTO parcels VALUES (?, ?, ?)", [(n, t, n / 4) for n, t in enumerate(times)])
        connection.execute("INSERT INTO parcels VALUES (4, NULL, NULL)")
    connection.close()
    return path


QUERY = "SELECT id, sent_at, weight FROM parcels"


def test_sql_gets_the_bounds_of_the_period(ws: Workspace, database: Path) -> None:
    query = QUERY + " WHERE sent_at >= :start AND sent_at < :end"
    rows = read(ws, read={"sql": f"sqlite:///{database}", "query": query})
    assert rows.to_pylist() == [
        {"id": "0", "sent_at": "2024-01-01 00:00:00", "weight": "0.0"},
        {"id": "1", "sent_at": "2024-01-31 23:59:59.5", "weight": "0.25"},
    ]
    late = QUERY + " WHERE sent_at < :end"
    assert read(ws, FEBRUARY, read={"sql": f"sqlite:///{database}", "query": late}).num_rows == 4


def test_sql_without_bounds_is_filtered_like_a_file(ws: Workspace, database: Path) -> None:
    rows = read(ws, FEBRUARY, read={"sql": f"sqlite:///{database}", "query": QUERY})
    assert rows["id"].to_pylist() == ["2", "3", "4"]


def test_sql_without_rows_still_has_columns(ws: Workspace, database: Path) -> None:
    rows = read(ws, read={"sql": f"sqlite:///{database}", "query": QUERY + " WHERE id > 99"})
    assert (rows.num_rows, rows.schema.names) == (0, ["id", "sent_at", "weight"])


def test_sql_urls_take_names_from_the_environment(
    ws: Workspace, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARCELS_URL", f"sqlite:///{database}")
    assert read(ws, FEBRUARY, read={"sql": "${PARCELS_URL}", "query": QUERY}).num_rows == 3
    with pytest.raises(UnreadableSource, match="has no `PARCELS_URI`"):
        read(ws, read={"sql": "${PARCELS_URI}", "query": QUERY})


@pytest.mark.parametrize(("query", "says"), [("SELECT * FROM parcel", "no such table"), ("SELEC", "syntax error")])
def test_a_wrong_query_is_permanent(ws: Workspace, database: Path, query: str, says: str) -> None:
    with pytest.raises(UnreadableSource, match=says):
        read(ws, read={"sql": f"sqlite:///{database}", "query": query})


def test_a_locked_database_is_worth_another_try(ws: Workspace, database: Path) -> None:
    with sqlite3.connect(database, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SourceAway, match="locked"):
            read(ws, read={"sql": f"sqlite:///{database}?timeout=0.01", "query": QUERY})
    other.close()


@pytest.mark.parametrize(
    "url", ["sqlite://user:${SECRET}@host/x.db", "nosuch://user:${SECRET}@host:12/x", "x:${SECRET}"]
)
def test_no_error_shows_the_password(ws: Workspace, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("SECRET", "hunter2/@:canary")
    with pytest.raises(UnreadableSource) as error:
        read(ws, read={"sql": url, "query": QUERY})
    shown = f"{error.value} {error.value.__cause__}"
    assert "hunter2" not in shown
    assert "canary" not in shown


def test_an_unknown_source_gets_a_suggestion(ws: Workspace) -> None:
    with pytest.raises(UnknownSource, match="did you mean `parcels`"):
        read_delivery(ws, "parcel", JANUARY)


def test_a_source_with_time_is_read_by_period(ws: Workspace) -> None:
    with pytest.raises(UnreadableSource, match="period by period"):
        read(ws, None)


def test_a_password_may_hold_any_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "a@b:c/d%e")
    assert sources._sql_url("postgresql://me:${SECRET}@host:5432/db").password == "a@b:c/d%e"


@pytest.mark.parametrize("shown", ["a@b:c/d", "a%40b%3Ac%2Fd"])
def test_a_driver_that_tells_the_password_is_silenced(monkeypatch: pytest.MonkeyPatch, shown: str) -> None:
    import sqlalchemy

    monkeypatch.setenv("SECRET", "a@b:c/d")
    url = sources._sql_url("postgresql://me:${SECRET}@host/db")
    with pytest.raises(SourceAway, match=r"refused me:\*\*\*") as error, sources._without_password(url):
        raise sqlalchemy.exc.OperationalError("connect", {}, Exception(f"refused me:{shown}"))
    assert shown not in str(error.value)
    assert error.value.__suppress_context__
