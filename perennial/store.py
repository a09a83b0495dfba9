"""The storage root of one environment, a local folder or an object store URL; the only module that uses obstore.

It moves whole objects, large ones as files. Tables are the lake's business, which only asks here for their addresses.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from shutil import copyfile
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore, from_url

from perennial.errors import Permanent
from perennial.storage_trouble import StorageFull, StoreAway, StoreRefused, naming_full_storage, naming_store_trouble

__all__ = ["AlreadyThere", "MissingObject", "StorageFull", "Store", "StoreAway", "StoreRefused"]

_PATIENCE = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
_CONNECTION = {"connect_timeout": "5s", "timeout": "60s"}


class AlreadyThere(Permanent):
    """The object exists and was to be created."""


class MissingObject(Permanent):
    """No object has that path."""


class Store:
    """Objects below one root, addressed by relative paths with `/`; it travels to other processes as its address."""

    def __init__(self, root: str, endpoint: str = "") -> None:
        """Open a root.

        Args:
            root: A folder (created when missing) or a URL such as `s3://bucket/prefix`. Keys come from the
                variables of the cloud, such as `AWS_ACCESS_KEY_ID`.
            endpoint: URL of an S3 API other than Amazon's, which may be plain `http://`.

        Raises:
            StoreRefused: The endpoint is no URL.
        """
        self.is_local = "://" not in root
        self.root = str(Path(root).resolve()) if self.is_local else root.rstrip("/")
        self.endpoint = endpoint if self.root.startswith("s3") and not self.is_local else ""
        self._objects: Any = LocalStore(self.root, mkdir=True) if self.is_local else self._remote()

    def __reduce__(self) -> tuple[type["Store"], tuple[str, str]]:
        return type(self), (self.root, self.endpoint)

    def _remote(self) -> Any:
        if not self.root.startswith("s3"):
            return from_url(self.root)
        if self.endpoint and urlsplit(self.endpoint).scheme not in ("http", "https"):
            raise StoreRefused(
                f"`{self.endpoint}` is no S3 API. Expected `storage_endpoint` to be http(s)://host:port."
            )
        place = {"endpoint": self.endpoint} if self.endpoint else {}
        connection = {**_CONNECTION, "allow_http": self.endpoint.startswith("http://")}
        open_url: Any = from_url
        return open_url(self.root, config=place, client_options=connection, retry_config=_PATIENCE)

    def table_options(self) -> dict[str, str]:
        """Return what Delta needs to know of this store beside an address and the keys, which it finds itself."""
        if not self.endpoint:
            return {}
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_ALLOW_HTTP": str(self.endpoint.startswith("http://")).lower()}

    def uri(self, path: str) -> str:
        """Return the full address of a path, as Delta, DuckDB and people use it."""
        return f"{self.root}/{path}"

    def create(self, path: str, data: bytes) -> None:
        """Write an object that must not exist yet: atomic, durable, and at most one of many writers wins.

        Raises:
            AlreadyThere: Somebody else created it first.
            StoreAway: No answer came; the object may have been created or may yet be.
        """
        try:
            with naming_full_storage(self.uri(path)), naming_store_trouble(self.uri(path)):
                if self.is_local:
                    with _durable(Path(self.root), path, os.link) as staged:
                        staged.write_bytes(data)
                else:
                    obstore.put(self._objects, path, data, mode="create")
        except (AlreadyExistsError, FileExistsError):
            raise AlreadyThere(f"`{self.uri(path)}` exists already and is never overwritten.") from None

    def put(self, path: str, data: bytes) -> None:
        """Write or replace an object: atomic and durable."""
        with naming_full_storage(self.uri(path)), naming_store_trouble(self.uri(path)):
            if self.is_local:
                with _durable(Path(self.root), path, os.replace) as staged:
                    staged.write_bytes(data)
            else:
                obstore.put(self._objects, path, data)

    def upload(self, path: str, file: Path) -> None:
        """Write or replace an object with the content of a local file: atomic, durable and in bounded memory."""
        with naming_full_storage(self.uri(path)), naming_store_trouble(self.uri(path)):
            if self.is_local:
                with _durable(Path(self.root), path, os.replace) as staged:
                    copyfile(file, staged)
            else:
                obstore.put(self._objects, path, file)

    def settle(self, folder: str, names: Iterable[str]) -> None:
        """Make objects of a folder durable that another library wrote, those that are there.

        An object store has done so itself.
        """
        if self.is_local:
            with naming_full_storage(self.uri(folder)), naming_store_trouble(self.uri(folder)):
                for name in (*names, ""):
                    with suppress(FileNotFoundError):
                        _sync(Path(self.root, folder, name))

    def download(self, path: str, file: Path) -> None:
        """Copy an object to a local file in bounded memory.

        Raises:
            MissingObject: There is none.
            StoreAway: The store did not answer.
        """
        with self._reading(path):
            chunks = obstore.get(self._objects, path).stream()
            with naming_full_storage(str(file)), file.open("wb") as copy:
                copy.writelines(chunks)

    def get(self, path: str) -> bytes:
        """Read a whole object.

        Raises:
            MissingObject: There is none.
        """
        with self._reading(path):
            return bytes(obstore.get(self._objects, path).bytes())

    def get_range(self, path: str, start: int, end: int) -> bytes:
        """Read the bytes of an object from `start` up to, not including, `end`."""
        with self._reading(path):
            return bytes(obstore.get_range(self._objects, path, start=start, end=end))

    def size(self, path: str) -> int:
        """Return the bytes of an object without reading it.

        Raises:
            MissingObject: There is none.
        """
        with self._reading(path):
            return int(obstore.head(self._objects, path)["size"])

    def written_at(self, path: str) -> datetime:
        """Return when an object was written, by the store's clock.

        Raises:
            MissingObject: There is none.
        """
        with self._reading(path):
            moment: datetime = obstore.head(self._objects, path)["last_modified"]
            return moment

    def exists(self, path: str) -> bool:
        """Say whether an object has that path."""
        try:
            self.size(path)
        except MissingObject:
            return False
        return True

    def delete(self, path: str) -> None:
        """Remove an object; one that is not there is as good as removed."""
        with naming_store_trouble(self.uri(path)), suppress(FileNotFoundError):
            obstore.delete(self._objects, path)

    def list(self, prefix: str, after: str | None = None) -> list[str]:
        """Return the sorted paths of the objects below a prefix, those after `after` if given.

        A file that is still being created, or was when its process died, is none.
        """
        with naming_store_trouble(self.uri(prefix)):
            pages = obstore.list(self._objects, prefix, offset=after)
            paths = sorted(meta["path"] for page in pages for meta in page)
        return [one for one in paths if not one.rpartition("/")[2].startswith(".")]

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        with naming_store_trouble(self.uri(path)):
            try:
                yield
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                raise MissingObject(f"`{self.uri(path)}` does not exist.") from None


@contextmanager
def _durable(root: Path, path: str, move: Callable[[Path, Path], None]) -> Iterator[Path]:
    """Yield where to write a file that is seen only whole, and once it is seen would survive a loss of power."""
    if ".." in PurePosixPath(path).parts or path.startswith("/"):
        raise StoreRefused(f"`{path}` is no path below `{root}`.")
    file = root / path
    new_folders = [one for one in file.parents if not one.exists()]
    file.parent.mkdir(parents=True, exist_ok=True)
    staged = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        yield staged
        _sync(staged)
        move(staged, file)
    finally:
        staged.unlink(missing_ok=True)
    for folder in (file.parent, *(one.parent for one in new_folders)):
        _sync(folder)


def _sync(place: Path) -> None:
    opened = os.open(place, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
