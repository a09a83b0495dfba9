"""One use case in one environment: its declaration, store and journal, handed to every stage."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path

from perennial.journal import Journal
from perennial.periods import InvalidPeriod, Period
from perennial.records import Entry
from perennial.settings import Settings
from perennial.state import State, fold
from perennial.store import Store
from perennial.use_case import UseCase
from perennial.use_case_file import load_use_case


class Workspace:
    """The first argument of every stage. It holds addresses, never data.

    It is no dataclass: Prefect would walk through all of the use case wherever it is the argument of a task.
    """

    def __init__(self, use_case: UseCase, settings: Settings) -> None:
        self.use_case = use_case
        self.settings = settings
        self._state = State()

    @classmethod
    def open(cls, slug: str, settings: Settings) -> "Workspace":
        """Open a use case by its slug.

        Raises:
            UnknownUseCase: No folder has that name.
            InvalidUseCase: Its file does not fit; the message gives line and nearest key.
        """
        return cls(load_use_case(Path(settings.use_cases), slug), settings)

    @cached_property
    def store(self) -> Store:
        return Store(self.settings.storage_root, self.settings.storage_endpoint)

    @cached_property
    def journal(self) -> Journal:
        return Journal(self.store, self.use_case.slug)

    def period(self, label: str | None, moment: datetime) -> Period:
        """Return a period of the use case by its label, or the newest that has ended at a moment.

        Raises:
            InvalidPeriod: The label names none, or one of another length than the use case lives by.
        """
        every = self.use_case.every
        if label is None:
            return Period.containing(moment, every).previous()
        period = Period.parse(label)
        if period.every is not every:
            like = Period.containing(moment, every).previous()
            raise InvalidPeriod(
                f"`{label}` is no {every.value}, and `{self.use_case.slug}` lives by the {every.value}: expected a "
                f"label such as `{like}`. Nothing was read."
            )
        return period

    def state(self) -> State:
        """Return what the journal amounts to now."""
        return self.state_of(self.journal.entries())

    def state_of(self, entries: Sequence[Entry]) -> State:
        """Return what all entries up to some moment amount to, folded once as long as there is no news.

        The same object is given again: nobody may change it.
        """
        state = self._state
        if state.seq != len(entries):
            state = self._state = fold(entries)
        return state

    def table(self, name: str) -> str:
        """Return the address of a lake table of this use case."""
        return self.store.uri(self.table_folder(name))

    def table_folder(self, name: str) -> str:
        """Return where a lake table of this use case is, below the storage root."""
        return f"lake/{self.use_case.slug}/{name}"
