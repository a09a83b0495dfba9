"""The storage root of one environment, a local folder or an object store URL; the only module that uses obstore.

It moves whole objects, large ones as files. Tables are the lake's business, which only asks here for their addresses.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, GenericError
from obstore.store import LocalStore, from_url

from perennial.errors import Permanent, Transient

_SIGNS_OF_FULL = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class AlreadyThere(Permanent):
    """The object exists and was to be created."""


class MissingObject(Permanent):
    """No object has that path."""


class StoreAway(Transient):
    """The object store did not answer, however often it was asked."""


class StorageFull(Permanent):
    """There is no space left where something was to be written."""


@contextmanager
def naming_full_storage(where: str) -> Iterator[None]:
    """Turn any library's way of saying that a disk is full into one error.

    Raises:
        StorageFull: Nothing of what was being written is visible.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, Permanent) or not any(sign in str(error) for sign in _SIGNS_OF_FULL):
            raise
        raise StorageFull(
            f"There is no space left to write `{where}`. Nothing of it is visible; free some space and run it again."
        ) from error


class Store:
    """Objects below one root, addressed by relative paths with `/`."""

    def __init__(self, root: str) -> None:
        """Open a root: a folder (created when missing) or a URL such as `s3://bucket/prefix`."""
        self.is_local = "://" not in root
        self.root = str(Path(root).resolve()) if self.is_local else root.rstrip("/")
        self._objects: Any = LocalStore(self.root, mkdir=True) if self.is_local else from_url(self.root)

    def uri(self, path: str) -> str:
        """Return the full address of a path, as Delta, DuckDB and people use it."""
        return f"{self.root}/{path}"

    def create(self, path: str, data: bytes) -> None:
        """Write an object that must not exist yet: atomic, and at most one of many writers wins.

        Raises:
            AlreadyThere: Somebody else created it first.
        """
        try:
            with naming_full_storage(self.uri(path)):
                obstore.put(self._objects, path, data, mode="create")
        except AlreadyExistsError:
            raise AlreadyThere(f"`{self.uri(path)}` exists already and is never overwritten.") from None

    def put(self, path: str, data: bytes) -> None:
        """Write or replace an object, atomically."""
        with naming_full_storage(self.uri(path)):
            obstore.put(self._objects, path, data)

    def upload(self, path: str, file: Path) -> None:
        """Write or replace an object with the content of a local file, atomically and in bounded memory."""
        with naming_full_storage(self.uri(path)):
            obstore.put(self._objects, path, file)

    def download(self, path: str, file: Path) -> None:
        """Copy an object to a local file in bounded memory.

        Raises:
            MissingObject: There is none.
            StoreAway: The store did not answer.
        """
        with _answering(self.uri(path)):
            try:
                chunks = obstore.get(self._objects, path).stream()
            except FileNotFoundError:
                raise MissingObject(f"`{self.uri(path)}` does not exist.") from None
            with naming_full_storage(str(file)), file.open("wb") as copy:
                copy.writelines(chunks)

    def get(self, path: str) -> bytes:
        """Read a whole object.

        Raises:
            MissingObject: There is none.
        """
        try:
            return bytes(obstore.get(self._objects, path).bytes())
        except FileNotFoundError:
            raise MissingObject(f"`{self.uri(path)}` does not exist.") from None

    def size(self, path: str) -> int:
        """Return the bytes of an object without reading it.

        Raises:
            MissingObject: There is none.
        """
        try:
            return int(obstore.head(self._objects, path)["size"])
        except FileNotFoundError:
            raise MissingObject(f"`{self.uri(path)}` does not exist.") from None

    def exists(self, path: str) -> bool:
        """Say whether an object has that path."""
        try:
            obstore.head(self._objects, path)
        except FileNotFoundError:
            return False
        return True

    def list(self, prefix: str, after: str | None = None) -> list[str]:
        """Return the sorted paths of the objects below a prefix, those after `after` if given."""
        with _answering(self.uri(prefix)):
            pages = obstore.list(self._objects, prefix, offset=after)
            return sorted(meta["path"] for page in pages for meta in page)


@contextmanager
def _answering(where: str) -> Iterator[None]:
    try:
        yield
    except GenericError as error:
        raise StoreAway(f"`{where}` did not answer: {str(error).splitlines()[0]}") from error
