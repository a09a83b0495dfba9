"""The objects of a store as read-only files for an engine that reads only what a query needs of them.

DuckDB's own way to S3 is an extension that it downloads at run time. This costs nothing to start, needs no
network beside the store's, and reads a Parquet file in the same ranges.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from perennial.errors import PerennialError
from perennial.store import Store

Answer = TypeVar("Answer")


class ObjectFiles(AbstractFileSystem):  # type: ignore[misc]
    """What is below the root of a store, by full address. Objects never change, so their age does not matter."""

    cachable = False
    root_marker = ""

    def __init__(self, store: Store) -> None:
        """Open a store whose root is a URL."""
        super().__init__()
        self.protocol = store.root.partition("://")[0]
        self.store = store
        self._sizes: dict[str, int] = {}
        self._trouble: PerennialError | None = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return the size of an object."""
        if path not in self._sizes:  # the engine asks often, and each time would be a request
            self._sizes[path] = self.noting(self.store.size, path)
        return {"name": path, "size": self._sizes[path], "type": "file"}

    def modified(self, path: str) -> datetime:
        """Return the same for all."""
        return datetime.fromtimestamp(0, UTC)

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the path itself: files are named, never searched for."""
        return [path]

    def noting(self, ask: Callable[..., Answer], path: str, *more: int) -> Answer:
        """Ask the store about an address, and remember why it failed: the engine passes on no exception."""
        try:
            return ask(path.removeprefix(f"{self.store.root}/"), *more)
        except PerennialError as error:
            self._trouble = error
            raise

    def take_trouble(self) -> PerennialError | None:
        """Return once why a request failed, `None` if none did."""
        trouble, self._trouble = self._trouble, None
        return trouble

    def _open(self, path: str, mode: str = "rb", **_: Any) -> "ObjectFile":
        return ObjectFile(self, path, mode, cache_type="none")


class ObjectFile(AbstractBufferedFile):  # type: ignore[misc]
    """One object; each read is one request for exactly the bytes that were asked for."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        files: ObjectFiles = self.fs
        return files.noting(files.store.get_range, self.path, start, end)
