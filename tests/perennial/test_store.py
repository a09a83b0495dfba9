"""Objects below a storage root: created once, replaced whole, listed in order."""

import contextlib
import errno
import multiprocessing
import os
from pathlib import Path

import pytest

from perennial.store import AlreadyThere, MissingObject, Store


@pytest.fixture(params=["folder", "url"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path / "root") if request.param == "folder" else f"file://{tmp_path}")


def test_what_was_put_is_got(store: Store) -> None:
    store.put("a/b.txt", b"one")
    store.put("a/b.txt", b"two")
    assert store.get("a/b.txt") == b"two"
    assert store.exists("a/b.txt")
    assert not store.exists("a")


def test_an_object_is_created_once(store: Store) -> None:
    store.create("a", b"first")
    with pytest.raises(AlreadyThere, match="never overwritten"):
        store.create("a", b"second")
    assert store.get("a") == b"first"


def test_a_missing_object_is_named_with_its_address(store: Store) -> None:
    with pytest.raises(MissingObject) as missing:
        store.get("no/where")
    assert f"`{store.uri('no/where')}`" in str(missing.value)


def test_listing_is_sorted_and_goes_on_after_a_path(store: Store) -> None:
    for name in ("j/2", "j/1", "j/10", "other/1"):
        store.put(name, b"")
    assert store.list("j") == ["j/1", "j/10", "j/2"]
    assert store.list("j", after="j/10") == ["j/2"]
    assert store.list("nothing") == []


def test_files_go_up_and_down_unchanged(store: Store, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(bytes(range(256)) * 5000)
    store.upload("file", tmp_path / "up")
    store.download("file", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes()
    with pytest.raises(MissingObject):
        store.download("lost", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_local_root_is_absolute_whatever_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("here")
    assert store.is_local
    assert store.uri("x") == f"{tmp_path}/here/x"


@pytest.mark.parametrize("path", ["../outside", "a/../../outside", "/../outside"])
def test_nothing_is_written_outside_the_root(tmp_path: Path, path: str) -> None:
    store = Store(str(tmp_path / "root"))
    for write in (store.put, store.create):
        with contextlib.suppress(Exception):
            write(path, b"x")
    assert {one.name for one in tmp_path.rglob("*") if one.is_file() and "root" not in one.parts} == set()


def write(how: str, store: Store, path: str, data: bytes) -> None:
    """Create, put or upload an object."""
    if how == "upload":
        file = Path(store.root).with_name("given")
        file.write_bytes(data)
        store.upload(path, file)
    else:
        getattr(store, how)(path, data)


writes = pytest.mark.parametrize("how", ["create", "put", "upload"])


@writes
def test_a_file_is_on_disk_before_it_is_seen_and_its_folders_before_it_is_reported(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    store = Store(str(root))
    synced: list[str] = []
    really = os.fsync

    def fsync(opened: int) -> None:
        place = str(Path(f"/proc/self/fd/{opened}").readlink()).removeprefix(str(root))
        synced.append(place if Path(f"{root}{place}").is_dir() else "data")
        assert (root / "j/shop/1.json").exists() == (synced[-1] != "data")
        really(opened)

    monkeypatch.setattr(os, "fsync", fsync)
    write(how, store, "j/shop/1.json", b"{}")
    assert synced[0] == "data"
    assert set(synced[1:]) == {"", "/j", "/j/shop"}


@writes
def test_what_cannot_be_made_durable_is_not_written(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    store = Store(str(tmp_path / "root"))
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="Input/output"):
            write(how, store, "j/1.json", b"{}")
    assert list((tmp_path / "root/j").iterdir()) == []
    write(how, store, "j/1.json", b"{}")


def test_a_file_that_is_not_created_yet_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, listed, really = Store(str(tmp_path)), [], os.fsync

    def fsync(opened: int) -> None:
        listed.append(store.list("log"))
        really(opened)

    monkeypatch.setattr(os, "fsync", fsync)
    store.create("log/a/1.arrow", b"rows")
    assert listed[0] == [], "what is found here would be read and deleted as if it were whole"
    assert store.list("log") == ["log/a/1.arrow"]


def claim(root: str, barrier: object, won: object) -> None:
    store = Store(root)
    for number in range(50):
        barrier.wait()  # type: ignore[attr-defined]
        try:
            store.create(f"{number}", multiprocessing.current_process().name.encode())
        except AlreadyThere:
            continue
        won.put(number)  # type: ignore[attr-defined]


def test_of_two_processes_that_create_an_object_one_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, won = context.Barrier(2), context.Queue()
    racers = [context.Process(target=claim, args=(str(tmp_path), barrier, won)) for _ in range(2)]
    for racer in racers:
        racer.start()
    numbers = [won.get(timeout=60) for _ in range(50)]
    for racer in racers:
        racer.join()
    assert sorted(numbers) == list(range(50))
    assert won.empty()
