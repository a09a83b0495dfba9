"""Objects on a real S3 API: as in a folder, with its failures told apart and no key in any text."""

import pickle
import re
import traceback
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from perennial.data import lake
from perennial.data.engine import Engine, parquet
from perennial.data.source_files import UnreadableFile, find_files
from perennial.errors import PerennialError
from perennial.settings import Settings
from perennial.store import AlreadyThere, MissingObject, Store, StoreAway, StoreRefused
from perennial.workspace import Workspace
from tests.builders import make_use_case
from tests.storage_servers import ACCESS_KEY, S3, SECRET_KEY

ROWS = pa.table({"a": range(1000), "text": [f"row {number}" for number in range(1000)]})
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def store(s3: S3, tmp_path: Path) -> Store:
    return Store(f"s3://perennial/{tmp_path.name}/", s3.endpoint)


@pytest.fixture
def ws(s3: S3, tmp_path: Path) -> Workspace:
    return on_s3(make_use_case(tmp_path, months=()), f"s3://perennial/{tmp_path.name}", s3.endpoint)


def on_s3(workspace: Workspace, root: str, endpoint: str) -> Workspace:
    place = {"storage_root": root, "storage_endpoint": endpoint}
    return Workspace(workspace.use_case, workspace.settings.model_copy(update=place))


def test_objects_are_created_once_replaced_whole_and_listed_in_order(store: Store, tmp_path: Path) -> None:
    store.create("j/1", b"first")
    with pytest.raises(AlreadyThere, match="never overwritten"):
        store.create("j/1", b"second")
    assert store.get("j/1") == b"first"
    for name in ("j/10", "j/2"):
        store.put(name, name.encode())
    assert store.list("j", after="j/1") == ["j/10", "j/2"]
    assert (store.size("j/10"), store.exists("j/3"), store.get_range("j/10", 2, 4)) == (4, False, b"10")
    (tmp_path / "up").write_bytes(bytes(range(256)) * 50_000)  # several parts
    store.upload("file", tmp_path / "up")
    store.download("file", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes()
    for read in (store.get, store.size, lambda path: store.download(path, tmp_path / "none")):
        with pytest.raises(MissingObject, match=r"`s3://perennial/.*/none` does not exist"):
            read("none")


def test_a_store_travels_as_its_address_without_the_keys(store: Store) -> None:
    packed = pickle.dumps(store)
    assert SECRET_KEY.encode() not in packed and ACCESS_KEY.encode() not in packed
    pickle.loads(packed).put("there", b"x")
    assert store.exists("there")


def test_tables_are_read_by_ranges_of_what_a_query_needs(ws: Workspace) -> None:
    assert lake.append(ws, "t", ROWS, "part", "flights/2013-01") == 1
    assert lake.append(ws, "t", ROWS, "part", "flights/2013-01") == 1
    assert lake.append(ws, "t", ROWS.slice(0, 0), "part", "empty") == 2
    files = lake.files(ws, "t", "part", ["flights/2013-01"])
    with Engine(ws.settings) as engine:
        engine.files("rows", files)
        assert engine.scalar("SELECT sum(a) FROM rows WHERE part = 'flights/2013-01'") == 499_500
        assert engine.batches("SELECT a, text FROM rows", rows=100).read_all() == ROWS
        engine.files("none", lake.files(ws, "t", "part", ["empty"]))
        assert engine.scalar("SELECT count(*) FROM none") == 0
    with pytest.raises(lake.MissingPartition):
        lake.files(ws, "t", "part", ["flights/2013-02"])


def test_no_key_is_written_into_a_table(ws: Workspace, s3: S3) -> None:
    lake.append(ws, "t", ROWS, "part", "one")
    written = [ws.store.get(path) for path in ws.store.list("lake")]
    assert written
    assert not [one for one in written if ACCESS_KEY.encode() in one or SECRET_KEY.encode() in one]


def test_sources_are_read_from_the_same_api(ws: Workspace, tmp_path: Path) -> None:
    for name in ("2024-01/a.csv", "2024-02/b.csv", "2024-02/deeper/c.csv"):
        ws.store.put(f"in/{name}", name.encode())
    (tmp_path / "copies").mkdir()
    found = find_files(ws.settings, ws.store.uri("in/*/*.csv"), tmp_path / "copies")
    assert [Path(one).read_text() for one in found] == ["2024-01/a.csv", "2024-02/b.csv"]
    with pytest.raises(UnreadableFile, match="No file matches"):
        find_files(ws.settings, ws.store.uri("in/nothing.csv"), tmp_path / "copies")


def attempts(ws: Workspace, file: str) -> list[Callable[[], object]]:
    def query() -> object:
        with Engine(ws.settings) as engine:
            return engine.table(f"SELECT * FROM {parquet([file])}")

    return [
        lambda: ws.store.create("new", b"x"),
        lambda: ws.store.get("new"),
        lambda: ws.store.exists("new"),
        lambda: ws.store.list("journal"),
        ws.journal.entries,
        lambda: lake.append(ws, "t", ROWS, "part", "two"),
        lambda: lake.files(ws, "t", "part", ["one"]),
        query,
    ]


def failure(attempt: Callable[[], object], kind: type[PerennialError]) -> str:
    with pytest.raises(kind) as failed:
        attempt()
    shown = "".join(traceback.format_exception(failed.value))
    assert ACCESS_KEY not in shown and SECRET_KEY not in shown
    return str(failed.value)


def test_wrong_keys_are_refused_at_once_everywhere_and_never_shown(ws: Workspace, s3: S3) -> None:
    lake.append(ws, "t", ROWS, "part", "one")
    (file,) = lake.files(ws, "t", "part", ["one"])
    with s3.refuse_unknown_keys():
        for attempt in attempts(ws, file):
            text = failure(attempt, StoreRefused)
            assert re.search(r"refused the keys .*403.* Check `AWS_ACCESS_KEY_ID`", text), text


def test_a_store_that_is_away_is_worth_another_try_everywhere(s3: S3, tmp_path: Path) -> None:
    away = on_s3(make_use_case(tmp_path, months=()), "s3://perennial/x", NOWHERE)
    for attempt in (attempts(away, "s3://perennial/x/t.parquet")[place] for place in (0, 3, 6, 7)):
        assert "`s3://perennial/x" in failure(attempt, StoreAway)
    with pytest.raises(StoreAway, match="could not answer"):
        find_files(away.settings, "s3://perennial/in/a.csv", tmp_path)


def test_a_bucket_that_does_not_exist_is_no_missing_object(s3: S3) -> None:
    store = Store("s3://nowhere", s3.endpoint)
    for attempt in (lambda: store.get("x"), lambda: store.create("x", b""), lambda: store.list("x")):
        assert "bucket that does not exist" in failure(attempt, StoreRefused)


def test_an_endpoint_that_is_no_url_is_refused(s3: S3) -> None:
    with pytest.raises(StoreRefused, match="http"):
        Store("s3://perennial", "localhost:9000")


def test_a_url_without_keys_says_which_to_set(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in s3.variables:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", NOWHERE)
    with pytest.raises(StoreRefused, match="Set `AWS_ACCESS_KEY_ID`"):
        Store("s3://perennial", s3.endpoint).get("x")


def test_an_engine_goes_on_after_a_failed_request(ws: Workspace, s3: S3) -> None:
    lake.append(ws, "t", ROWS, "part", "one")
    (file,) = lake.files(ws, "t", "part", ["one"])
    with Engine(Settings(**{**ws.settings.model_dump(), "threads": 1})) as engine:
        with s3.refuse_unknown_keys(), pytest.raises(StoreRefused):
            engine.table(f"SELECT * FROM {parquet([file])}")
        assert engine.scalar(f"SELECT count(*) FROM {parquet([file])}") == 1000
        with pytest.raises(Exception, match="nothing"):
            engine.scalar("SELECT nothing")
