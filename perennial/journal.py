"""The append-only log of one use case in one environment; it stores records and folds nothing.

Each entry is one object whose number must still be free, which local disks and object stores both
guarantee with a conditional create. A writer names the head it has seen, so a stale one is refused. Every thousand
entries are repeated in one object, a *pack*; it is a copy that may be deleted, and counts only where the last entry of
it is that of the journal, which by the chain of digests proves all before it.
"""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from threading import RLock
from typing import TypeVar
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from perennial.digests import digest_bytes
from perennial.errors import Permanent, Transient
from perennial.records import Entry, Record
from perennial.store import AlreadyThere, MissingObject, Store

_ENTRY = TypeAdapter(Entry)
_GENESIS = digest_bytes(b"")
_NUMBERED = re.compile(r"(\d{9})\.json")
PACK = 1000
"""Entries that one object repeats, for who reads a long journal from its beginning."""
_MEND = "Restore the journal folder from a backup; nothing was used."


Moment = datetime | Callable[[tuple[Entry, ...]], datetime]
"""One that is known beforehand, or that follows from the entries which a decision is made on."""


Found = TypeVar("Found")
Made = TypeVar("Made", bound=Record)


class Conflict(Transient):
    """Somebody else appended first: read the journal again and decide again."""


class BrokenJournal(Permanent):
    """An entry is missing, unreadable or does not follow from the one before."""


def after_newest(entries: Sequence[Entry], moment: datetime) -> datetime:
    """Return a moment, or one just after the newest entry's if that is later: for what was learned now.

    So no computation for an earlier moment that left an entry is asked again and sees what it did not see then.
    """
    newest = max((entry.at for entry in entries), default=moment)
    return moment if newest <= moment else newest + timedelta(microseconds=1)


class Journal:
    """A view of the log that remembers what it has read, so that reading again costs only the news.

    Threads may share one; processes meet in the store.
    """

    def __init__(self, store: Store, use_case: str) -> None:
        self._store = store
        self._use_case = use_case
        self._folder = f"journal/{use_case}"
        self._entries: list[Entry] = []
        self._last = _GENESIS
        self._lock = RLock()

    def __reduce__(self) -> tuple[type["Journal"], tuple[Store, str]]:
        return Journal, (self._store, self._use_case)

    def entries(self) -> tuple[Entry, ...]:
        """Return all entries, oldest first.

        A changed, removed or inserted entry is noticed by the one after it; what was cut off at the end is not.
        Numbers are read without gaps, since a listing made while others append may show a later entry and not
        an earlier one.

        Raises:
            BrokenJournal: The chain of digests does not hold.
        """
        with self._lock:
            newest = self._newest()
            if not self.head and newest >= PACK:
                self._unpack(newest)
            paths = [self._path(seq) for seq in range(self.head + 1, newest + 1)]
            for path, data in zip(paths, self._get_all(paths), strict=True):
                self._take(data, path)
            return tuple(self._entries)

    @property
    def head(self) -> int:
        """Number of the newest entry that this view has read; 0 before the first."""
        return len(self._entries)

    def written_at(self, entry: Entry) -> datetime:
        """Return when an entry was written, by the store's clock; its `at` is what it was decided for."""
        return self._store.written_at(self._path(entry.seq))

    def append(self, record: Record, at: datetime, head: int) -> Entry:
        """Add a record after the entry numbered `head`.

        A store may write an entry and lose the answer, or find it there when it tries again by itself: the entry
        is then recognised by its writer and counts as appended.

        Args:
            record: What happened.
            at: The moment it was decided for, UTC.
            head: Number of the newest entry that the decision took into account.

        Raises:
            Conflict: The journal has gone on since `head`.
        """
        with self._lock:
            if head != self.head:
                self.entries()
            if head == self.head:
                entry = Entry(seq=head + 1, previous=self._last, writer=uuid4().hex, at=at, record=record)
                if self._write(entry):
                    return entry
                self.entries()
            raise Conflict(
                f"`{record.kind}` was decided on entry {head} of `{self._folder}`, but the journal is at entry "
                f"{self.head}. Nothing was written; decide again on the new state."
            )

    def decide(self, decision: Callable[[tuple[Entry, ...]], Record | None], at: Moment) -> Entry | None:
        """Append what a decision says of the newest entries, deciding again as often as others come first.

        Args:
            decision: Pure; gets all entries, returns the record to append, or `None` for nothing.
            at: The moment it decides for, UTC; or what says so of the same entries.
        """
        while True:
            entries = self.entries()
            record = decision(entries)
            if record is None:
                return None
            try:
                return self.append(record, at(entries) if callable(at) else at, head=len(entries))
            except Conflict:
                continue

    def find_or_append(
        self, find: Callable[[tuple[Entry, ...]], Found | None], make: Callable[[tuple[Entry, ...]], Made], at: Moment
    ) -> Found | Made:
        """Return what is found in the newest entries, or else append what is made of them, and return that.

        Both are asked again as often as others come first, so of many that would append the same, one does.

        Args:
            find: Pure; gets all entries, returns what makes a record needless, or `None`.
            make: Pure; gets the same entries.
            at: As for `decide`.
        """
        while True:
            entries = self.entries()
            found = find(entries)
            if found is not None:
                return found
            made = make(entries)
            try:
                self.append(made, at(entries) if callable(at) else at, head=len(entries))
                return made
            except Conflict:
                continue

    def _write(self, entry: Entry) -> bool:
        path, data = self._path(entry.seq), entry.model_dump_json().encode()
        try:
            self._store.create(path, data)
        except Exception as error:
            if not self._holds(path, data):
                if isinstance(error, AlreadyThere):
                    return False
                raise
        self._take(data, path)
        if entry.seq % PACK == 0:
            with suppress(Exception):  # the entry is there, and the next writer packs
                self._pack()
        return True

    def _pack(self) -> None:
        """Repeat every thousand entries of which there is no pack yet."""
        there = self._store.list(f"{self._folder}/packs")
        for last in range(PACK, self.head + 1, PACK):
            if self._pack_path(last) not in there:
                data = self._get_all([self._path(seq) for seq in range(last - PACK + 1, last + 1)])
                self._store.put(self._pack_path(last), b"\n".join(data))

    def _unpack(self, newest: int) -> None:
        """Take what is packed, as far as it is the journal's."""
        there = self._store.list(f"{self._folder}/packs")
        for last in range(PACK, newest + 1, PACK):
            path, before = self._pack_path(last), (self.head, self._last)
            if path not in there:
                return
            data = self._store.get(path).split(b"\n")
            try:
                if data[-1] != self._get(self._path(last)):
                    return
                for one in data:
                    self._take(one, path)
            except BrokenJournal:  # the entries themselves are read then, and say what is wrong
                del self._entries[before[0] :]
                self._last = before[1]
                return

    def _pack_path(self, last: int) -> str:
        return f"{self._folder}/packs/{last:09d}.jsonl"

    def _holds(self, path: str, data: bytes) -> bool:
        try:
            return self._store.get(path) == data
        except MissingObject:
            return False

    def _newest(self) -> int:
        """The number up to which entries are to be read; a long journal is not listed again where there is no news."""
        if self.head and not self._store.exists(self._path(self.head + 1)):
            return self.head
        found = self._store.list(self._folder, after=self._path(self.head))
        numbers = (_NUMBERED.fullmatch(path.rpartition("/")[2]) for path in found)
        return max((int(number[1]) for number in numbers if number), default=self.head)

    def _get_all(self, paths: Sequence[str]) -> list[bytes]:
        with ThreadPoolExecutor(max_workers=16) as pool:
            return list(pool.map(self._get, paths))

    def _get(self, path: str) -> bytes:
        try:
            return self._store.get(path)
        except MissingObject:
            raise BrokenJournal(f"`{self._store.uri(path)}` is missing although later entries exist. {_MEND}") from None

    def _path(self, seq: int) -> str:
        return f"{self._folder}/{seq:09d}.json"

    def _take(self, data: bytes, path: str) -> None:
        try:
            entry = _ENTRY.validate_json(data, extra="ignore")  # newer code may say more of the same
        except ValidationError as error:
            raise BrokenJournal(f"`{self._store.uri(path)}` is no journal entry: {error}. {_MEND}") from error
        if entry.seq != self.head + 1 or entry.previous != self._last:
            raise BrokenJournal(
                f"`{self._store.uri(path)}` says it is entry {entry.seq} after `{entry.previous[:12]}`, expected entry "
                f"{self.head + 1} after `{self._last[:12]}`. {_MEND}"
            )
        self._entries.append(entry)
        self._last = digest_bytes(data)
